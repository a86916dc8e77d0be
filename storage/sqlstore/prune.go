package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	selectBeyond = `SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET $1`
	selectOldest = `SELECT seq, time FROM events WHERE seq < (SELECT MAX(seq) FROM events) ORDER BY seq LIMIT $1`
	deleteEvents = `DELETE FROM events WHERE seq <= $1`
)

// pruneChunk is how many events are removed in one transaction, while changes wait.
const pruneChunk = 1000

// PruneEvents removes the oldest events, as [core.Store] says. Which ones there are too many of is read once: counting
// them takes longer than a change may wait.
func PruneEvents(ctx context.Context, r Reads, c Changes, before time.Time, keep int) (removed int, err error) {
	var beyond int64
	err = r.guard(ctx, func(ctx context.Context) error {
		err := r.feed.beyond.QueryRowContext(ctx, max(keep, 1)).Scan(&beyond)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // there are fewer
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	for {
		var n int
		err := c.group.do(ctx, func(ctx context.Context, w *Writer) (_ []feed.Event, err error) {
			n, err = w.prune(ctx, before.UnixMicro(), beyond)
			return nil, err
		})
		if err != nil {
			return removed, err
		}
		if removed += n; n < pruneChunk {
			return removed, nil
		}
	}
}

// prune removes events from the oldest one on, up to the first that is kept, and a chunk at most. It leaves no gap: an
// event whose time lies before that of an earlier one stays as long as that one.
func (w *Writer) prune(ctx context.Context, before, beyond int64) (removed int, err error) {
	var upTo int64
	kept := false
	err = each(ctx, w.oldest, func(rows *sql.Rows) error {
		var seq, at int64
		if err := rows.Scan(&seq, &at); err != nil {
			return err
		}
		if kept = kept || at >= before && seq > beyond; !kept {
			upTo = seq
			removed++
		}
		return nil
	}, pruneChunk)
	if err != nil || removed == 0 {
		return 0, err
	}
	_, err = w.pruned.ExecContext(ctx, upTo)
	return removed, err
}
