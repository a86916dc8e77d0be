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
) (core.Key, error) {
	k, found, err := w.end(ctx, network, kind, keyID, &r)
	if err != nil || found {
		return k, err
	}
	if _, err := w.find(ctx, network, kind, keyID); err != nil {
		return core.Key{}, err
	}
	return core.Key{}, core.NewError(core.FailedPrecondition, "the key is revoked already")
}

// end revokes a key. found is false where there is no such key that is not revoked.
func (w *Writer) end(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r *core.Revocation,
) (k core.Key, found bool, err error) {
	if !isKeyID(keyID) {
		return core.Key{}, false, nil
	}
	k, found, err = oneKey(ctx, w.revoke, network, int64(core.StatusRevoked), int64(r.Reason), r.Description,
		r.Time.UnixMicro(), network[:], keyID, int64(kind))
	if err != nil || !found {
		return core.Key{}, false, err
	}
	w.count(&k, -1)
	w.add(ctx, &k, feed.EventRevoked, r.Time).Reason = uint8(r.Reason)
	return k, true, nil
}

// Update changes fields of a key, as [core.Store] says.
func (w *Writer) Update(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, u core.Update,
) (core.Key, error) {
	k, err := w.find(ctx, network, kind, keyID)
	if err != nil {
		return core.Key{}, err
	}
	next, err := u.Of(k)
	if err != nil {
		return core.Key{}, err
	}
	if u.IsZero() {
		return k, nil
	}
	row, err := rowOf(&next)
	if err != nil {
		return core.Key{}, err
	}
	_, err = w.update.Exec(ctx, row.name, row.scopes, row.metadata, row.cidrs, row.rateQuota, row.rateUnit,
		row.rateWindow, row.updated, network[:], keyID)
	if err != nil {
		return core.Key{}, err
	}
	w.add(ctx, &k, feed.EventUpdated, u.Time)
	return row.key(network)
}

// Delete removes an imported key. One that does not exist or was issued is [core.KeyNotFound].
func (w *Writer) Delete(ctx context.Context, network core.NetworkID, keyID string, d core.Deletion) error {
	if !isKeyID(keyID) {
		return errNotFound()
	}
	k, found, err := oneKey(ctx, w.remove, network, network[:], keyID)
	if err != nil {
		return err
	}
	if !found {
		return errNotFound()
	}
	w.add(ctx, &k, feed.EventDeleted, d.Time)
	return nil
}
