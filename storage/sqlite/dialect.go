package sqlite

import (
	"encoding/json"
	"fmt"

	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// dialect is SQLite's. A transaction takes the write lock when it begins: one that only reads at first could find it
// taken, and could not wait for it without being begun anew.
func dialect() *sqlstore.Dialect {
	return &sqlstore.Dialect{
		Begin:      "BEGIN IMMEDIATE",
		KeyIDIn:    "key_id IN (SELECT value FROM json_each($2))",
		KeyIDs:     encodeKeyIDs,
		Sequence:   "$2",
		Savepoints: true,
		Translate:  translate,
		FailsAlone: failsAlone,
		Busy:       isBusy,
		Unknown:    func(error) bool { return false }, // a commit that fails was not made
	}
}

func encodeKeyIDs(ids []string) (any, error) {
	b, err := json.Marshal(ids)
	if err != nil {
		return nil, fmt.Errorf("encode key ids: %w", err)
	}
	return string(b), nil
}
