package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// Operator is who creates keys, in the audit trail: creation is an operator's verb.
const Operator = "operator"

const (
	selectByRequest = `SELECT ` + keyColumns + ` FROM keys WHERE network = $1 AND kind = $2 AND request_id = $3 ` +
		`AND request_id <> ''`
	insertEvent = `INSERT INTO events (network, key_id, kind, time, actor, reason) ` +
		`VALUES ($1, $2, $3, $4, $5, $6) RETURNING seq`
	insertKey = `INSERT INTO keys (created_seq, network, ` + keyColumns + `) ` +
		`VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) ` +
		`ON CONFLICT (network, key_id) DO NOTHING`
	updateRevoked = `UPDATE keys SET status = $1, revocation_reason = $2, revocation_description = $3, ` +
		`update_time = $4 WHERE network = $5 AND key_id = $6 AND ($7 = 0 OR kind = $7) AND status <> $1 ` +
		`RETURNING ` + keyColumns
	selectCheck = `SELECT check_value FROM secrets WHERE network = $1`
	insertCheck = `INSERT INTO secrets (network, check_value) VALUES ($1, $2)`
	updateCheck = `UPDATE secrets SET check_value = $2 WHERE network = $1`
)

// Writer changes keys. Its statements run in the transaction of the connection that it was prepared on, and a method
// that returns an error may have changed something: the caller rolls back, to a savepoint or as a whole.
type Writer struct {
	prepared
	get, byRequest, event, key, revoke, check, newCheck, nextCheck *sql.Stmt
}

// NewWriter prepares a Writer. Whoever does closes it.
func NewWriter(ctx context.Context, p Preparer) (*Writer, error) {
	w := &Writer{}
	var err error
	w.prepared, err = prepare(ctx, p,
		statement{&w.get, selectKey}, statement{&w.byRequest, selectByRequest}, statement{&w.event, insertEvent},
		statement{&w.key, insertKey}, statement{&w.revoke, updateRevoked}, statement{&w.check, selectCheck},
		statement{&w.newCheck, insertCheck}, statement{&w.nextCheck, updateCheck})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Create adds a key and returns it as it was stored, with the event. When the key's request id was used before, it
// returns the key of that request and no event. A key id that is taken is [core.Conflict].
func (w *Writer) Create(ctx context.Context, key core.Key) (core.Key, *core.Event, error) {
	if key.RequestID != "" {
		k, found, err := oneKey(ctx, w.byRequest, key.Network, key.Network[:], int64(key.Kind), key.RequestID)
		if err != nil || found {
			return k, nil, err
		}
	}
	row, err := rowOf(&key)
	if err != nil {
		return core.Key{}, nil, err
	}
	event := &core.Event{
		Network: key.Network, KeyID: key.ID, Kind: core.EventCreated, Time: key.CreateTime, Actor: Operator,
	}
	if err := w.write(ctx, event); err != nil {
		return core.Key{}, nil, err
	}
	result, err := w.key.ExecContext(ctx, append([]any{event.Position, key.Network[:]}, row.values()...)...)
	if err != nil {
		return core.Key{}, nil, err
	}
	switch n, err := result.RowsAffected(); {
	case err != nil:
		return core.Key{}, nil, err
	case n == 0:
		return core.Key{}, nil, core.NewError(core.Conflict, "a key with this id exists already")
	}
	stored, err := row.key(key.Network)
	return stored, event, err
}

// Revoke makes a key a revoked one and returns it, with the event. A key that does not exist or is of another kind is
// [core.KeyNotFound]; one that is revoked already is [core.FailedPrecondition].
func (w *Writer) Revoke(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
) (core.Key, *core.Event, error) {
	k, found, err := oneKey(ctx, w.revoke, network, int64(core.StatusRevoked), int64(r.Reason), r.Description,
		r.Time.UnixMicro(), network[:], keyID, int64(kind))
	if err != nil {
		return core.Key{}, nil, err
	}
	if !found {
		return core.Key{}, nil, w.whyNotRevoked(ctx, network, kind, keyID)
	}
	event := &core.Event{
		Network: network, KeyID: keyID, Kind: core.EventRevoked, Time: r.Time, Actor: r.By, Reason: r.Reason,
	}
	if err := w.write(ctx, event); err != nil {
		return core.Key{}, nil, err
	}
	return k, event, nil
}

// whyNotRevoked tells a key that is not there from one that is revoked.
func (w *Writer) whyNotRevoked(ctx context.Context, network core.NetworkID, kind core.Kind, keyID string) error {
	k, found, err := oneKey(ctx, w.get, network, network[:], keyID)
	if err != nil {
		return err
	}
	if !found || (kind != core.AnyKind && kind != k.Kind) {
		return errNotFound()
	}
	return core.NewError(core.FailedPrecondition, "the key is revoked already")
}

// write adds an event to the feed and gives it its position and its time as stored.
func (w *Writer) write(ctx context.Context, e *core.Event) error {
	micros := e.Time.UnixMicro()
	e.Time = time.UnixMicro(micros).UTC()
	return each(ctx, w.event, func(rows *sql.Rows) error {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		var err error
		e.Position, err = position(seq)
		return err
	}, e.Network[:], e.KeyID, int64(e.Kind), micros, e.Actor, int64(e.Reason))
}

// ClaimSecret compares a network's HMAC secrets with the ones that its keys were made with, as [core.Store] says.
func (w *Writer) ClaimSecret(ctx context.Context, network core.NetworkID, checks []string) error {
	if len(checks) == 0 {
		return core.NewError(core.Internal, "no check value of an HMAC secret was given")
	}
	var (
		stored string
		found  bool
	)
	err := each(ctx, w.check, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(&stored)
	}, network[:])
	switch {
	case err != nil:
		return err
	case !found:
		_, err = w.newCheck.ExecContext(ctx, network[:], checks[0])
	case stored == checks[0]:
		return nil
	case slices.Contains(checks, stored):
		_, err = w.nextCheck.ExecContext(ctx, network[:], checks[0])
	default:
		return core.NewError(core.FailedPrecondition, fmt.Sprintf("the HMAC secrets of network %s, current and "+
			"retired, do not include the one that its keys were made with: none of them would verify", network))
	}
	return err
}
