package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const selectByRequest = `SELECT ` + keyColumns + ` FROM keys WHERE network = $1 AND kind = $2 AND request_id = $3 ` +
	`AND request_id <> ''`

// insertKey inserts a key unless its id or its request id is taken, and returns its created_seq.
func insertKey(d *Dialect) string {
	return `INSERT INTO keys (network, ` + keyColumns + `) VALUES ` +
		`($1, ` + d.Sequence + `, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, ` +
		`$21, $22, $23, $24, $25, $26) ON CONFLICT DO NOTHING RETURNING created_seq`
}

// countLive counts what a quota counts, and stops where the answer makes no difference any more.
var countLive = fmt.Sprintf(`SELECT COUNT(*) FROM (SELECT 1 FROM keys WHERE network = $1 AND kind IN (%d, %d) `+
	`AND status = %d AND (expire_time IS NULL OR expire_time > $2) LIMIT $3) AS live`,
	core.Issued, core.Imported, core.StatusActive)

// Create adds a key and returns it as it was stored. When the key's request id was used before, it returns the key of
// that request, which was not created. A key id that is taken is [core.Conflict].
func (w *Writer) Create(ctx context.Context, key core.Key) (stored core.Key, created bool, err error) {
	stored, found, err := w.ofRequest(ctx, &key)
	if err != nil || found {
		return stored, false, err
	}
	stored, created, err = w.insert(ctx, key, "")
	if err != nil || created {
		return stored, created, err
	}
	// Another transaction may have used the request id meanwhile.
	if stored, found, err = w.ofRequest(ctx, &key); err != nil || found {
		return stored, false, err
	}
	return core.Key{}, false, errTaken()
}

// CreateMany adds keys, as [core.Store] says.
func (w *Writer) CreateMany(
	ctx context.Context, network core.NetworkID, keys []core.Key, quota int64,
) ([]core.CreateResult, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	room, err := w.room(ctx, network, keys[0].CreateTime, quota)
	if err != nil {
		return nil, err
	}
	results := make([]core.CreateResult, len(keys))
	for i, key := range keys {
		r := &results[i]
		if r.Err = w.refuse(&key, network); r.Err != nil {
			continue
		}
		if room <= 0 {
			if r.Key, r.Err = w.known(ctx, &key, quota); r.Err != nil && !isRefusal(r.Err) {
				return nil, r.Err
			}
			continue
		}
		r.Key, r.Created, r.Err = w.Create(ctx, key)
		switch {
		case r.Err != nil && !isRefusal(r.Err):
			return nil, r.Err
		case r.Created:
			room--
		}
	}
	return results, nil
}

// known is what comes of a key for which the quota has no room: the key of its request, or why there is none.
func (w *Writer) known(ctx context.Context, key *core.Key, quota int64) (core.Key, error) {
	k, found, err := w.ofRequest(ctx, key)
	if err != nil || found {
		return k, err
	}
	_, found, err = oneKey(ctx, w.get, key.Network, key.Network[:], key.ID)
	switch {
	case err != nil:
		return core.Key{}, err
	case found:
		return core.Key{}, errTaken()
	}
	return core.Key{}, errQuota(quota)
}

// isRefusal reports whether an error is about one key, and not about the database.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*core.Error](err)
	return ok
}

// room is how many keys more may be active at a moment within a quota, of which 0 is none.
func (w *Writer) room(ctx context.Context, network core.NetworkID, now time.Time, quota int64) (int64, error) {
	if quota <= 0 {
		return math.MaxInt64, nil
	}
	if w.quota != nil {
		if _, err := w.quota.Exec(ctx, network[:]); err != nil {
			return 0, err
		}
	}
	var live int64
	_, err := One(ctx, w.live, []any{&live}, network[:], now.UnixMicro(), quota)
	return quota - live, err
}

// checkRoom is an error where no key more may be active.
func (w *Writer) checkRoom(ctx context.Context, network core.NetworkID, now time.Time, quota int64) error {
	room, err := w.room(ctx, network, now, quota)
	if err == nil && room <= 0 {
		err = errQuota(quota)
	}
	return err
}

func errQuota(quota int64) error {
	return core.NewError(core.KeyQuotaExceeded,
		fmt.Sprintf("the network has as many active keys as its quota of %d allows", quota))
}

// refuse says why a key cannot be written, whatever is in the database.
func (w *Writer) refuse(key *core.Key, network core.NetworkID) error {
	if key.Network != network {
		return core.NewError(core.Internal, "the key is of another network")
	}
	if _, err := rowOf(key); err != nil {
		return core.WrapError(core.Internal, "the key could not be stored", err)
	}
	return nil
}

// ofRequest returns the key that a request with the same id has made.
func (w *Writer) ofRequest(ctx context.Context, key *core.Key) (k core.Key, found bool, err error) {
	if key.RequestID == "" {
		return core.Key{}, false, nil
	}
	return oneKey(ctx, w.byRequest, key.Network, key.Network[:], int64(key.Kind), key.RequestID)
}

// insert writes a key and adds the event of its creation. replaces is the id of the key in whose place it is put, or
// empty. A key whose id or request id is taken is not created.
func (w *Writer) insert(ctx context.Context, key core.Key, replaces string) (stored core.Key, created bool, err error) {
	row, err := rowOf(&key)
	if err != nil {
		return core.Key{}, false, err
	}
	if row.sequence, err = w.next(ctx); err != nil {
		return core.Key{}, false, err
	}
	created, err = One(ctx, w.key, []any{&row.sequence}, append([]any{key.Network[:]}, row.values()...)...)
	if err != nil || !created {
		return core.Key{}, false, err
	}
	w.add(ctx, &key, feed.EventCreated, key.CreateTime).Related = replaces
	w.count(&key, 1)
	stored, err = row.key(key.Network)
	return stored, true, err
}

func errTaken() error { return core.NewError(core.Conflict, "a key with this id exists already") }
