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
) (core.Key, error) {
	k, err := w.find(ctx, network, kind, keyID)
	if err != nil {
		return core.Key{}, err
	}
	next, err := s.Of(k)
	if err != nil {
		return core.Key{}, err
	}
	w.add(ctx, &k, feed.EventSuspended, s.Time)
	return w.setState(ctx, &next)
}

// Resume makes a suspended key what it was, as [core.Store] says.
func (w *Writer) Resume(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Resumption,
) (core.Key, error) {
	k, err := w.find(ctx, network, kind, keyID)
	if err != nil {
		return core.Key{}, err
	}
	next, err := r.Of(k)
	if err != nil {
		return core.Key{}, err
	}
	if next.StatusAt(r.Time) == core.StatusActive {
		if err := w.checkRoom(ctx, network, r.Time, r.Quota); err != nil {
			return core.Key{}, err
		}
	}
	w.add(ctx, &k, feed.EventResumed, r.Time)
	return w.setState(ctx, &next)
}

// setState stores a key's state, expiry and successor. It returns the key as stored.
func (w *Writer) setState(ctx context.Context, next *core.Key) (core.Key, error) {
	row, err := rowOf(next)
	if err != nil {
		return core.Key{}, err
	}
	_, err = w.state.Exec(ctx, row.status, row.reason, row.suspended, row.expires, row.successor, row.updated,
		next.Network[:], next.ID)
	if err != nil {
		return core.Key{}, err
	}
	return row.key(next.Network)
}
