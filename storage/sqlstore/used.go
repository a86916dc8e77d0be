package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/talos-edge/talos-edge/core"
)

// updateUsed never replaces a use by an earlier one, and none by one of the next minute.
const updateUsed = `UPDATE keys SET last_used_time = $1 WHERE network = $2 AND key_id = $3 ` +
	`AND (last_used_time IS NULL OR last_used_time <= $4)`

// useChunk is how many uses are written in one transaction, while changes wait: up to about 6 ms on SQLite
// (go test ./storage/sqlite -run '^$' -bench RecordUse).
const useChunk = 100

// RecordUse writes the last uses of keys, as [core.Store] says.
func (c Changes) RecordUse(ctx context.Context, uses []core.Use) error {
	uses = slices.Clone(uses) // as in CreateMany
	// Two nodes that write uses of the same keys lock them in the same order, and so never wait for each other.
	slices.SortFunc(uses, func(a, b core.Use) int {
		return cmp.Or(bytes.Compare(a.Network[:], b.Network[:]), strings.Compare(a.KeyID, b.KeyID))
	})
	for chunk := range slices.Chunk(uses, useChunk) {
		err := c.group.do(ctx, func(ctx context.Context, w *Writer) error { return w.recordUse(ctx, chunk) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) recordUse(ctx context.Context, uses []core.Use) error {
	for i := range uses {
		u := &uses[i]
		_, err := w.used.Exec(ctx, u.Time.UnixMicro(), u.Network[:], u.KeyID,
			u.Time.Add(-core.UseInterval).UnixMicro())
		if err != nil {
			return err
		}
	}
	return nil
}
