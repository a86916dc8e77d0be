package sqlstore

import (
	"context"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// Suspend makes a key one that is refused until it is resumed, as [core.Store] says. It stays among the keys that are
// counted by prefix: once it is resumed, its prefix must be configured.
func (w *Writer) Suspend(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, s core.Suspension,
) (core.Key, []feed.Event, error) {
	k, err := w.find(ctx, network, kind, keyID)
	if err != nil {
		return core.Key{}, nil, err
	}
	next, err := s.Of(k)
	if err != nil {
		return core.Key{}, nil, err
	}
	event := eventOf(&k, feed.EventSuspended, s.Time)
	stored, err := w.setState(ctx, &next, &event)
	return stored, []feed.Event{event}, err
}

// Resume makes a suspended key what it was, as [core.Store] says.
func (w *Writer) Resume(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Resumption,
) (core.Key, []feed.Event, error) {
	k, err := w.find(ctx, network, kind, keyID)
	if err != nil {
		return core.Key{}, nil, err
	}
	next, err := r.Of(k)
	if err != nil {
		return core.Key{}, nil, err
	}
	if next.StatusAt(r.Time) == core.StatusActive {
		if err := w.checkRoom(ctx, network, r.Time, r.Quota); err != nil {
			return core.Key{}, nil, err
		}
	}
	event := eventOf(&k, feed.EventResumed, r.Time)
	stored, err := w.setState(ctx, &next, &event)
	return stored, []feed.Event{event}, err
}

// setState stores a key's state, expiry and successor and writes the event of the change. It returns the key as stored.
func (w *Writer) setState(ctx context.Context, next *core.Key, event *feed.Event) (core.Key, error) {
	row, err := rowOf(next)
	if err != nil {
		return core.Key{}, err
	}
	_, err = w.state.ExecContext(ctx, row.status, row.reason, row.suspended, row.expires, row.successor, row.updated,
		next.Network[:], next.ID)
	if err != nil {
		return core.Key{}, err
	}
	if err := w.write(ctx, event); err != nil {
		return core.Key{}, err
	}
	return row.key(next.Network)
}
