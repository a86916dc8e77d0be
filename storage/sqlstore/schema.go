package sqlstore

import (
	"fmt"

	"github.com/talos-edge/talos-edge/core"
)

// Schema is the state of a database's schema.
type Schema struct {
	Version  int64             // of the database; 0: there is none
	Newest   int64             // that this build knows
	Versions []SchemaMigration // that this build knows, the oldest first
}

// SchemaMigration is a step from one version of the schema to the next.
type SchemaMigration struct {
	Version int64
	Name    string // of its file
	Applied bool
}

// Check refuses a schema that is newer than this build.
func (s *Schema) Check() error {
	if s.Version > s.Newest {
		return NewerError(s.Version, s.Newest)
	}
	return nil
}

// NewerError is the error of a database whose schema is newer than this build.
func NewerError(version, newest int64) error {
	return core.NewError(core.FailedPrecondition, fmt.Sprintf("the database has schema version %d, and this build "+
		"knows versions up to %d: run the newer build that wrote it", version, newest))
}
