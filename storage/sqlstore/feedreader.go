package sqlstore

import (
	"context"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

const (
	claimFeedReader = `INSERT INTO feed_readers (name, position, notices_until, owner, lease_until) ` +
		`VALUES ($1, (` + selectLast + `), $2, $3, $4) ` +
		`ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until ` +
		`WHERE feed_readers.owner = excluded.owner OR feed_readers.lease_until <= $2 ` +
		`RETURNING position, notices_until`
	saveFeedReader = `UPDATE feed_readers SET position = CASE WHEN position > $2 THEN position ELSE $2 END, ` +
		`notices_until = CASE WHEN notices_until > $3 THEN notices_until ELSE $3 END, lease_until = $4 ` +
		`WHERE name = $1 AND owner = $5`

	selectExpiring = `SELECT ` + keyColumns + ` FROM keys WHERE expire_time IS NOT NULL AND status = 1 ` +
		`AND expire_time >= $2 AND expire_time < $3 AND (expire_time > $2 OR key_id > $4) ` +
		`AND (network = $1) IS TRUE AND successor_key_id = '' ORDER BY expire_time, key_id LIMIT $5`
)

// ClaimReader makes a process the owner of a reader's name, as [core.Store] says. Of two that claim it at once, the
// second one's condition is judged after the first has committed.
func (w *Writer) ClaimReader(ctx context.Context, c core.ReaderClaim) (at core.FeedReader, err error) {
	var notices, seq int64
	now := w.dialect.now()
	claimed, err := One(ctx, w.claimReader, []any{&seq, &notices},
		c.Name, now.UnixMicro(), c.Owner, now.Add(c.Lease).UnixMicro())
	if err != nil {
		return at, err
	}
	if !claimed {
		return at, core.NewError(core.Conflict, "another process reads the feed under this name")
	}
	at.NoticesUntil = time.UnixMicro(notices).UTC()
	at.Position, err = position(seq)
	return at, err
}

// SaveReader records how far an owner's reader has come, as [core.Store] says.
func (w *Writer) SaveReader(ctx context.Context, c core.ReaderClaim, at core.FeedReader) error {
	saved, err := w.saveReader.Exec(ctx, c.Name,
		int64(at.Position), //nolint:gosec // a store gave it
		at.NoticesUntil.UnixMicro(), w.dialect.now().Add(c.Lease).UnixMicro(), c.Owner)
	if err != nil {
		return err
	}
	if saved == 0 {
		return core.NewError(core.Conflict, "another process has begun to read the feed under this name")
	}
	return nil
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
