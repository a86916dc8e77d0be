package sqlstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	selectByRequest = `SELECT ` + keyColumns + ` FROM keys WHERE network = $1 AND kind = $2 AND request_id = $3 ` +
		`AND request_id <> ''`
	insertKey = `INSERT INTO keys (network, ` + keyColumns + `) VALUES ` +
		`($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, ` +
		`$22, $23, $24, $25, $26) ` +
		`ON CONFLICT (network, key_id) DO NOTHING`
)

// countLive counts what a quota counts, and stops where the answer makes no difference any more.
var countLive = fmt.Sprintf(`SELECT COUNT(*) FROM (SELECT 1 FROM keys WHERE network = $1 AND kind IN (%d, %d) `+
	`AND status = %d AND (expire_time IS NULL OR expire_time > $2) LIMIT $3) AS live`,
	core.Issued, core.Imported, core.StatusActive)

// Create adds a key and returns it as it was stored. When the key's request id was used before, it returns the key of
// that request and no event. A key id that is taken is [core.Conflict].
func (w *Writer) Create(ctx context.Context, key core.Key) (core.Key, []feed.Event, error) {
	k, found, err := w.ofRequest(ctx, &key)
	if err != nil || found {
		return k, nil, err
	}
	return w.insert(ctx, key, "")
}

// CreateMany adds keys, as [core.Store] says.
func (w *Writer) CreateMany(
	ctx context.Context, network core.NetworkID, keys []core.Key, quota int64,
) ([]core.CreateResult, []feed.Event, error) {
	if len(keys) == 0 {
		return nil, nil, nil
	}
	room, err := w.room(ctx, network, keys[0].CreateTime, quota)
	if err != nil {
		return nil, nil, err
	}
	results := make([]core.CreateResult, len(keys))
	events := make([]feed.Event, 0, len(keys))
	for i, key := range keys {
		r := &results[i]
		if r.Err = w.refuse(&key, network); r.Err != nil {
			continue
		}
		// What would fail alone is found before anything is written: then no savepoint has to be set for each key.
		known, found, err := w.ofRequest(ctx, &key)
		if err != nil {
			return nil, nil, err
		}
		if found {
			r.Key = known
			continue
		}
		if _, found, err = oneKey(ctx, w.get, network, network[:], key.ID); err != nil {
			return nil, nil, err
		}
		if found {
			r.Err = errTaken()
			continue
		}
		if room <= 0 {
			r.Err = errQuota(quota)
			continue
		}
		stored, created, err := w.insert(ctx, key, "")
		if err != nil {
			return nil, nil, err
		}
		r.Key, r.Created = stored, true
		events = append(events, created...)
		room--
	}
	return results, events, nil
}

// room is how many keys more may be active at a moment within a quota, of which 0 is none.
func (w *Writer) room(ctx context.Context, network core.NetworkID, now time.Time, quota int64) (int64, error) {
	if quota <= 0 {
		return math.MaxInt64, nil
	}
	var live int64
	err := w.live.QueryRowContext(ctx, network[:], now.UnixMicro(), quota).Scan(&live)
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

// insert writes a key and the event of its creation. replaces is the id of the key in whose place it is put, or empty.
// A key id that is taken is [core.Conflict].
func (w *Writer) insert(ctx context.Context, key core.Key, replaces string) (core.Key, []feed.Event, error) {
	row, err := rowOf(&key)
	if err != nil {
		return core.Key{}, nil, err
	}
	event := eventOf(&key, feed.EventCreated, key.CreateTime)
	event.Related = replaces
	if err := w.write(ctx, &event); err != nil {
		return core.Key{}, nil, err
	}
	row.position = int64(event.Position) //nolint:gosec // was read from an int64
	result, err := w.key.ExecContext(ctx, append([]any{key.Network[:]}, row.values()...)...)
	if err != nil {
		return core.Key{}, nil, err
	}
	switch n, err := result.RowsAffected(); {
	case err != nil:
		return core.Key{}, nil, err
	case n == 0:
		return core.Key{}, nil, errTaken()
	}
	if err := count(ctx, w.counted, &key); err != nil {
		return core.Key{}, nil, err
	}
	stored, err := row.key(key.Network)
	return stored, []feed.Event{event}, err
}

func errTaken() error { return core.NewError(core.Conflict, "a key with this id exists already") }
