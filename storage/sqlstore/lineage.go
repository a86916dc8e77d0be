package sqlstore

import (
	"context"
	"fmt"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// selectLineage finds the keys that rotations have made of a first one and that are not revoked, in their order. The
// first one has no lineage_id.
var selectLineage = fmt.Sprintf(`SELECT key_id FROM keys WHERE network = $1 AND lineage_id = $2 AND lineage_id <> '' `+
	`AND (status <> %d OR suspend_time IS NOT NULL) ORDER BY created_seq`, core.StatusRevoked)

// Rotate replaces an issued key by a new one, as [core.Store] says.
func (w *Writer) Rotate(
	ctx context.Context, network core.NetworkID, keyID string, r core.Rotation,
) (fresh, old core.Key, err error) {
	fail := func(err error) (core.Key, core.Key, error) { return core.Key{}, core.Key{}, err }
	if old, err = w.find(ctx, network, core.Issued, keyID); err != nil {
		return fail(err)
	}
	fresh, left, err := r.Of(old)
	if err != nil {
		return fail(err)
	}
	revokes := left.Status == core.StatusRevoked
	if !revokes {
		if err := w.checkRoom(ctx, network, r.Time, r.Quota); err != nil {
			return fail(err)
		}
	}
	fresh, created, err := w.insert(ctx, fresh, keyID)
	switch {
	case err != nil:
		return fail(err)
	case !created:
		return fail(errTaken())
	}
	if revokes {
		w.count(&old, -1)
	}
	rotated := w.add(ctx, &old, feed.EventRotated, r.Time)
	rotated.Reason, rotated.Related = uint8(left.RevocationReason), fresh.ID
	if old, err = w.setState(ctx, &left); err != nil {
		return fail(err)
	}
	return fresh, old, nil
}

// RevokeLineage revokes a key and those that rotations have made of it or it of, as [core.Store] says.
func (w *Writer) RevokeLineage(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
) (revoked []core.Key, err error) {
	k, err := w.find(ctx, network, kind, keyID)
	if err != nil {
		return nil, err
	}
	// While this waited for a key, another transaction may have made a new one of it by a rotation: what is left is read
	// until there is none.
	for ids := []string{k.Lineage()}; len(ids) > 0; {
		for _, id := range ids {
			k, found, err := w.end(ctx, network, core.AnyKind, id, &r)
			if err != nil {
				return nil, err
			}
			if found { // the first of all may be revoked
				revoked = append(revoked, k)
			}
		}
		if ids, err = w.left(ctx, network, k.Lineage()); err != nil {
			return nil, err
		}
	}
	if len(revoked) == 0 {
		return nil, core.NewError(core.FailedPrecondition, "the key and all of its lineage are revoked already")
	}
	return revoked, nil
}

// left are the keys of a lineage that are not revoked, but for the first.
func (w *Writer) left(ctx context.Context, network core.NetworkID, lineage string) (ids []string, err error) {
	err = each(ctx, w.lineage, func(rows Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	}, network[:], lineage)
	return ids, err
}
