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
	selectEvents = `SELECT seq, network, key_id, kind, time, actor, reason FROM events WHERE seq > $1 ` +
		`ORDER BY seq LIMIT $2`
)

// Feed reads the feed of changes.
type Feed struct {
	prepared
	last, after *sql.Stmt
}

// NewFeed prepares a Feed. Whoever does closes it.
func NewFeed(ctx context.Context, p Preparer) (*Feed, error) {
	f := &Feed{}
	var err error
	f.prepared, err = prepare(ctx, p, statement{&f.last, selectLast}, statement{&f.after, selectEvents})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Last is the position of the last change; 0 when there is none.
func (f *Feed) Last(ctx context.Context) (uint64, error) {
	var last int64
	if err := f.last.QueryRowContext(ctx).Scan(&last); err != nil {
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
	err := each(ctx, f.after, func(rows *sql.Rows) error {
		var (
			e                       feed.Event
			network                 []byte
			seq, kind, time, reason int64
		)
		if err := rows.Scan(&seq, &network, &e.KeyID, &kind, &time, &e.Actor, &reason); err != nil {
			return err
		}
		if err := readEvent(&e, seq, network, kind, time, reason); err != nil {
			return err
		}
		events = append(events, e)
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

// Events returns events, as [core.Store] says.
func (f *Feed) Events(ctx context.Context, after uint64, limit int) ([]feed.Event, error) {
	if limit < 1 || limit > core.MaxEvents {
		return nil, core.NewError(core.Internal, fmt.Sprintf("%d events were asked for at once", limit))
	}
	if after <= math.MaxInt64 {
		events, err := f.After(ctx, after, limit)
		if err != nil || len(events) > 0 || after == 0 {
			return events, err
		}
	}
	last, err := f.Last(ctx)
	if err != nil {
		return nil, err
	}
	if after > last {
		return nil, core.NewError(core.FailedPrecondition,
			fmt.Sprintf("the feed of changes ends at %d, before %d: start over", last, after))
	}
	return nil, nil
}

// readEvent fills in what needs a conversion. A kind or reason of a newer build is not an error: the change must still
// raise its key's position.
func readEvent(e *feed.Event, seq int64, network []byte, kind, micros, reason int64) error {
	var err error
	if e.Position, err = position(seq); err != nil {
		return err
	}
	if e.Network, err = uuid.FromBytes(network); err != nil {
		return fmt.Errorf("read event %d: %w", seq, err)
	}
	if kind > 0 && kind <= math.MaxUint8 {
		e.Kind = feed.EventKind(kind)
	}
	if reason > 0 && reason <= math.MaxUint8 {
		e.Reason = uint8(reason)
	}
	e.Time = time.UnixMicro(micros).UTC()
	return nil
}

func position(seq int64) (uint64, error) {
	if seq < 0 {
		return 0, fmt.Errorf("read feed: position %d is out of range", seq)
	}
	return uint64(seq), nil
}
