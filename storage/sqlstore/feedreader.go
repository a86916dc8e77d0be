package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

const (
	selectFeedReader = `SELECT position, notices_until, owner, lease_until FROM feed_readers WHERE name = $1`
	claimFeedReader  = `INSERT INTO feed_readers (name, position, notices_until, owner, lease_until) ` +
		`VALUES ($1, (` + selectLast + `), $2, $3, $4) ` +
		`ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until ` +
		`RETURNING position, notices_until`
	saveFeedReader = `UPDATE feed_readers SET position = $2, notices_until = $3, lease_until = $4 ` +
		`WHERE name = $1`

	selectExpiring = `SELECT ` + keyColumns + ` FROM keys WHERE expire_time IS NOT NULL AND status = 1 ` +
		`AND expire_time >= $2 AND expire_time < $3 AND (expire_time > $2 OR key_id > $4) ` +
		`AND (network = $1) IS TRUE AND successor_key_id = '' ORDER BY expire_time, key_id LIMIT $5`
)

// feedReaderRow is a row of feed_readers.
type feedReaderRow struct {
	position, notices int64
	owner             string
	until             int64
}

// readFeedReader returns the row of a name, or the zero row.
func (w *Writer) readFeedReader(ctx context.Context, name string) (r feedReaderRow, err error) {
	err = each(ctx, w.reader, func(rows *sql.Rows) error {
		return rows.Scan(&r.position, &r.notices, &r.owner, &r.until)
	}, name)
	return r, err
}

// ClaimReader makes a process the owner of a reader's name, as [core.Store] says.
func (w *Writer) ClaimReader(ctx context.Context, c core.ReaderClaim) (at core.FeedReader, err error) {
	now := time.Now()
	before, err := w.readFeedReader(ctx, c.Name)
	if err != nil {
		return at, err
	}
	if before.owner != c.Owner && before.until > now.UnixMicro() {
		return at, core.NewError(core.Conflict, "another process reads the feed under this name")
	}
	err = each(ctx, w.claimReader, func(rows *sql.Rows) error {
		var notices, seq int64
		if err := rows.Scan(&seq, &notices); err != nil {
			return err
		}
		at.NoticesUntil = time.UnixMicro(notices).UTC()
		at.Position, err = position(seq)
		return err
	}, c.Name, now.UnixMicro(), c.Owner, now.Add(c.Lease).UnixMicro())
	return at, err
}

// SaveReader records how far an owner's reader has come, as [core.Store] says.
func (w *Writer) SaveReader(ctx context.Context, c core.ReaderClaim, at core.FeedReader) error {
	before, err := w.readFeedReader(ctx, c.Name)
	if err != nil {
		return err
	}
	if before.owner != c.Owner {
		return core.NewError(core.Conflict, "another process has begun to read the feed under this name")
	}
	_, err = w.saveReader.ExecContext(ctx, c.Name,
		max(before.position, int64(at.Position)), //nolint:gosec // a store gave it
		max(before.notices, at.NoticesUntil.UnixMicro()), time.Now().Add(c.Lease).UnixMicro())
	return err
}

// Expiring returns keys that expire in a period, as [core.Store] says.
func (r *Reader) Expiring(ctx context.Context, q core.ExpiryQuery) (found []core.Key, err error) {
	if q.Limit < 1 {
		return nil, core.NewError(core.Internal, "the limit of a list of expiring keys must be at least 1")
	}
	err = keys(ctx, r.expiring, q.Network, func(k core.Key) { found = append(found, k) },
		q.Network[:], q.From.UnixMicro(), q.Before.UnixMicro(), q.AfterID, q.Limit)
	return found, err
}
