package sqlstore

import (
	"context"
	"fmt"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	updateRevoked = `UPDATE keys SET status = $1, revocation_reason = $2, revocation_description = $3, ` +
		`update_time = $4, suspend_time = NULL WHERE network = $5 AND key_id = $6 AND ($7 = 0 OR kind = $7) ` +
		`AND (status <> $1 OR suspend_time IS NOT NULL) RETURNING ` + keyColumns
	updateKey = `UPDATE keys SET name = $1, scopes = $2, metadata = $3, allowed_cidrs = $4, rate_quota = $5, ` +
		`rate_unit = $6, rate_window = $7, update_time = $8 WHERE network = $9 AND key_id = $10`
	updateState = `UPDATE keys SET status = $1, revocation_reason = $2, suspend_time = $3, expire_time = $4, ` +
		`successor_key_id = $5, update_time = $6 WHERE network = $7 AND key_id = $8`
)

var deleteKey = fmt.Sprintf(`DELETE FROM keys WHERE network = $1 AND key_id = $2 AND kind = %d RETURNING `+keyColumns,
	core.Imported)

// Revoke makes a key a revoked one and returns it. A key that does not exist or is of another kind is
// [core.KeyNotFound]; one that is revoked already is [core.FailedPrecondition].
func (w *Writer) Revoke(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
) (core.Key, []feed.Event, error) {
	k, event, found, err := w.end(ctx, network, kind, keyID, &r)
	if err != nil {
		return core.Key{}, nil, err
	}
	if !found {
		if _, err := w.find(ctx, network, kind, keyID); err != nil {
			return core.Key{}, nil, err
		}
		return core.Key{}, nil, core.NewError(core.FailedPrecondition, "the key is revoked already")
	}
	return k, []feed.Event{event}, nil
}

// end revokes a key. found is false where there is no such key that is not revoked.
func (w *Writer) end(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r *core.Revocation,
) (k core.Key, event feed.Event, found bool, err error) {
	k, found, err = oneKey(ctx, w.revoke, network, int64(core.StatusRevoked), int64(r.Reason), r.Description,
		r.Time.UnixMicro(), network[:], keyID, int64(kind))
	if err != nil || !found {
		return core.Key{}, feed.Event{}, false, err
	}
	if err := count(ctx, w.uncounted, &k); err != nil {
		return core.Key{}, feed.Event{}, false, err
	}
	event = eventOf(&k, feed.EventRevoked, r.Time)
	event.Reason = uint8(r.Reason)
	if err := w.write(ctx, &event); err != nil {
		return core.Key{}, feed.Event{}, false, err
	}
	return k, event, true, nil
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
