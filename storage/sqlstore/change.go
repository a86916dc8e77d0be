package sqlstore

import (
	"context"
	"fmt"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	updateRevoked = `UPDATE keys SET status = $1, revocation_reason = $2, revocation_description = $3, ` +
		`update_time = $4 WHERE network = $5 AND key_id = $6 AND ($7 = 0 OR kind = $7) AND status <> $1 ` +
		`RETURNING ` + keyColumns
	updateKey = `UPDATE keys SET name = $1, scopes = $2, metadata = $3, allowed_cidrs = $4, rate_quota = $5, ` +
		`rate_unit = $6, rate_window = $7, update_time = $8 WHERE network = $9 AND key_id = $10`
)

var deleteKey = fmt.Sprintf(`DELETE FROM keys WHERE network = $1 AND key_id = $2 AND kind = %d RETURNING `+keyColumns,
	core.Imported)

// Revoke makes a key a revoked one and returns it. A key that does not exist or is of another kind is
// [core.KeyNotFound]; one that is revoked already is [core.FailedPrecondition].
func (w *Writer) Revoke(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
) (core.Key, []feed.Event, error) {
	return w.end(ctx, network, kind, keyID, r, feed.EventRevoked, "")
}

// end revokes a key, with an event of a kind. related is the id of the key in its place, or empty.
func (w *Writer) end(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
	what feed.EventKind, related string,
) (core.Key, []feed.Event, error) {
	k, found, err := oneKey(ctx, w.revoke, network, int64(core.StatusRevoked), int64(r.Reason), r.Description,
		r.Time.UnixMicro(), network[:], keyID, int64(kind))
	if err != nil {
		return core.Key{}, nil, err
	}
	if !found {
		if _, err := w.find(ctx, network, kind, keyID); err != nil {
			return core.Key{}, nil, err
		}
		return core.Key{}, nil, core.NewError(core.FailedPrecondition, "the key is revoked already")
	}
	if err := count(ctx, w.uncounted, &k); err != nil {
		return core.Key{}, nil, err
	}
	event := eventOf(&k, what, r.Time)
	event.Reason, event.Related = uint8(r.Reason), related
	if err := w.write(ctx, &event); err != nil {
		return core.Key{}, nil, err
	}
	return k, []feed.Event{event}, nil
}

// Update changes fields of a key, as [core.Store] says.
func (w *Writer) Update(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, u core.Update,
) (core.Key, []feed.Event, error) {
	k, err := w.find(ctx, network, kind, keyID)
	if err != nil {
		return core.Key{}, nil, err
	}
	next, err := u.Of(k)
	if err != nil {
		return core.Key{}, nil, err
	}
	if u.IsZero() {
		return k, nil, nil
	}
	row, err := rowOf(&next)
	if err != nil {
		return core.Key{}, nil, err
	}
	_, err = w.update.ExecContext(ctx, row.name, row.scopes, row.metadata, row.cidrs, row.rateQuota, row.rateUnit,
		row.rateWindow, row.updated, network[:], keyID)
	if err != nil {
		return core.Key{}, nil, err
	}
	event := eventOf(&k, feed.EventUpdated, u.Time)
	if err := w.write(ctx, &event); err != nil {
		return core.Key{}, nil, err
	}
	stored, err := row.key(network)
	return stored, []feed.Event{event}, err
}

// Rotate puts a new key in the place of an issued one, as [core.Store] says.
func (w *Writer) Rotate(
	ctx context.Context, network core.NetworkID, keyID string, r core.Rotation,
) (fresh, old core.Key, events []feed.Event, err error) {
	fail := func(err error) (core.Key, core.Key, []feed.Event, error) { return core.Key{}, core.Key{}, nil, err }
	if old, err = w.find(ctx, network, core.Issued, keyID); err != nil {
		return fail(err)
	}
	if fresh, err = r.Of(old); err != nil {
		return fail(err)
	}
	fresh, created, err := w.insert(ctx, fresh, keyID)
	if err != nil {
		return fail(err)
	}
	old, rotated, err := w.end(ctx, network, core.Issued, keyID,
		core.Revocation{Reason: core.ReasonSuperseded, Time: r.Time}, feed.EventRotated, fresh.ID)
	if err != nil {
		return fail(err)
	}
	return fresh, old, append(created, rotated...), nil
}

// Delete removes an imported key. One that does not exist or was issued is [core.KeyNotFound].
func (w *Writer) Delete(
	ctx context.Context, network core.NetworkID, keyID string, d core.Deletion,
) ([]feed.Event, error) {
	k, found, err := oneKey(ctx, w.remove, network, network[:], keyID)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errNotFound()
	}
	event := eventOf(&k, feed.EventDeleted, d.Time)
	if err := w.write(ctx, &event); err != nil {
		return nil, err
	}
	return []feed.Event{event}, nil
}
