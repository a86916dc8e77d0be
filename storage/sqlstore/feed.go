package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	selectLast   = `SELECT COALESCE(MAX(seq), 0) FROM events`
	selectBounds = `SELECT (SELECT id FROM feed), (SELECT MIN(seq) FROM events), (SELECT MAX(seq) FROM events)`
	selectEvents = `SELECT ` + eventColumns + ` FROM events WHERE seq > $1 ORDER BY seq LIMIT $2`

	// Of events that are not kept any more.
	selectBeyond = `SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET $1`
	selectOldest = `SELECT seq, time FROM events WHERE seq < (SELECT MAX(seq) FROM events) ORDER BY seq LIMIT $1`
	deleteEvents = `DELETE FROM events WHERE seq <= $1`
)

// Feed reads the feed of changes.
type Feed struct {
	prepared
	last, bounds, after, beyond Statement

	nodes, awaited Statement
}

// NewFeed prepares a Feed. Whoever does closes it.
func NewFeed(ctx context.Context, p Preparer) (*Feed, error) {
	f := &Feed{}
	var err error
	f.prepared, err = prepare(ctx, p, statement{&f.last, selectLast}, statement{&f.bounds, selectBounds},
		statement{&f.after, selectEvents}, statement{&f.beyond, selectBeyond},
		statement{&f.nodes, selectNodes}, statement{&f.awaited, selectAwaited})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Last is the position of the last change; 0 when there is none.
func (f *Feed) Last(ctx context.Context) (uint64, error) {
	var last int64
	if _, err := One(ctx, f.last, []any{&last}); err != nil {
		return 0, err
	}
	return position(last)
}

// After returns at most limit events with a higher position than after, in the order of their positions.
func (f *Feed) After(ctx context.Context, after uint64, limit int) ([]feed.Event, error) {
	if after > math.MaxInt64 {
		return nil, fmt.Errorf("read feed: position %d is out of range", after)
	}
	var events []feed.Event
	err := each(ctx, f.after, func(rows Rows) error {
		var row eventRow
		if err := rows.Scan(row.columns()...); err != nil {
			return err
		}
		if err := row.read(); err != nil {
			return err
		}
		events = append(events, row.event)
		return nil
	}, int64(after), limit)
	if err != nil {
		return nil, err
	}
	return events, nil
}

// CatchUp applies the events from what is applied on up to before, without it, and returns how many. Of a feed that is
// written meanwhile it may apply some of what is new; math.MaxUint64 is for all that there are.
func (f *Feed) CatchUp(ctx context.Context, positions *feed.Positions, before uint64) (found int, err error) {
	for positions.Applied()+1 < before {
		events, err := f.After(ctx, positions.Applied(), core.MaxEvents)
		if err != nil {
			return found, err
		}
		n := len(events)
		for n > 0 && events[n-1].Position >= before {
			n--
		}
		positions.Apply(events[:n]...)
		found += n
		if n < core.MaxEvents {
			break
		}
	}
	return found, nil
}

// Events returns a page of events, as [core.Store] says. The bounds are read after the events: what is removed in
// between makes the reader start over.
func (f *Feed) Events(ctx context.Context, after uint64, limit int) (page feed.Page, err error) {
	if limit < 1 || limit > core.MaxEvents {
		return page, core.NewError(core.Internal, fmt.Sprintf("%d events were asked for at once", limit))
	}
	if after <= math.MaxInt64 { // a database has no higher position
		if page.Events, err = f.After(ctx, after, limit); err != nil {
			return feed.Page{}, err
		}
	}
	var oldest, newest sql.NullInt64
	if _, err := One(ctx, f.bounds, []any{&page.FeedID, &oldest, &newest}); err != nil {
		return feed.Page{}, err
	}
	if page.Last, err = position(newest.Int64); err != nil {
		return feed.Page{}, err
	}
	if page.Begin, err = position(max(oldest.Int64-1, 0)); err != nil {
		return feed.Page{}, err
	}
	return page, nil
}

// eventRow is an event on its way from the table.
type eventRow struct {
	event                                    feed.Event
	network                                  []byte
	seq, keyKind, kind, time, reason, caller int64
}

// columns are where the columns of selectEvents go.
func (r *eventRow) columns() []any {
	e := &r.event
	return []any{
		&r.seq, &r.network, &e.KeyID, &r.keyKind, &e.ActorID, &r.kind, &r.time, &r.reason, &e.Related,
		&r.caller, &e.Caller.ID, &e.Caller.User, &e.Caller.RequestID,
	}
}

// read fills in what needs a conversion.
func (r *eventRow) read() (err error) {
	e := &r.event
	if e.Position, err = position(r.seq); err != nil {
		return err
	}
	if e.Network, err = uuid.FromBytes(r.network); err != nil {
		return fmt.Errorf("read event %d: %w", r.seq, err)
	}
	e.KeyKind, e.Kind, e.Reason = number(r.keyKind), feed.EventKind(number(r.kind)), number(r.reason)
	e.Caller.Kind = feed.CallerKind(number(r.caller))
	e.Time = time.UnixMicro(r.time).UTC()
	return nil
}

// number reads a small number. One of a newer build is not an error, but unknown: the change must still raise its key's
// position.
func number(n int64) uint8 {
	if n > 0 && n <= math.MaxUint8 {
		return uint8(n)
	}
	return 0
}

func position(seq int64) (uint64, error) {
	if seq < 0 {
		return 0, fmt.Errorf("read feed: position %d is out of range", seq)
	}
	return uint64(seq), nil
}

// pruneChunk is how many events are removed in one transaction, while changes wait.
const pruneChunk = 1000

// PruneEvents removes the oldest events, as [core.Store] says. Which ones there are too many of is read once: counting
// them takes longer than a change may wait.
func PruneEvents(ctx context.Context, r Reads, c Changes, before time.Time, keep int) (removed int, err error) {
	var beyond int64
	err = r.guard(ctx, func(ctx context.Context) error {
		beyond = 0 // there are fewer
		_, err := One(ctx, r.feed.beyond, []any{&beyond}, max(keep, 1))
		return err
	})
	if err != nil {
		return 0, err
	}
	for {
		var n int
		err := c.group.do(ctx, func(ctx context.Context, w *Writer) (err error) {
			n, err = w.prune(ctx, before.UnixMicro(), beyond)
			return err
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
	err = each(ctx, w.oldest, func(rows Rows) error {
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
	_, err = w.pruned.Exec(ctx, upTo)
	return removed, err
}
