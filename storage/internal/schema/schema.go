package schema

import (
	"fmt"

	"github.com/talos-edge/talos-edge/core"
)

// Schema is the state of a database's schema.
type Schema struct {
	Version  int64       // of the database; 0: there is none
	Newest   int64       // that this build knows
	Oldest   int64       // that a build must know to run on the database; 0: the same as Version
	Versions []Migration // that this build knows, the oldest first
}

// Migration is a step from one version of the schema to the next.
type Migration struct {
	Version int64
	Name    string // of its file
	Applied bool
}

// IsNewer reports whether the schema is newer than this build.
func (s *Schema) IsNewer() bool { return s.Version > s.Newest }

// Readable reports whether this build may run on the schema: it is no newer one, or one that says that it may.
func (s *Schema) Readable() bool { return !s.IsNewer() || s.Oldest != 0 && s.Oldest <= s.Newest }

// Check refuses a schema that is not Readable.
func (s *Schema) Check() error {
	if !s.Readable() {
		return s.newerError()
	}
	return nil
}

// newerError is the error of a database whose schema is newer than this build.
func (s *Schema) newerError() error {
	return core.NewError(core.FailedPrecondition, fmt.Sprintf("the database has schema version %d, and this build "+
		"knows versions up to %d: run the newer build that wrote it", s.Version, s.Newest))
}
