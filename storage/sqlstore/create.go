package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
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

// insertKeys is insertKey for many keys, with an array for each column but created_seq. It returns the key_id and
// created_seq of those that it has inserted.
func insertKeys(d *Dialect) string {
	values := new(keyRow).values()[1:]
	arrays := make([]string, len(values))
	for i, v := range values {
		kind := "bigint"
		if _, ok := v.(string); ok {
			kind = "text"
		}
		arrays[i] = fmt.Sprintf("$%d::%s[]", i+3, kind)
	}
	columns := strings.TrimPrefix(keyColumns, "created_seq, ")
	return `INSERT INTO keys (network, ` + keyColumns + `) SELECT $1, ` + d.Sequence + `, ` + columns +
		` FROM unnest(` + strings.Join(arrays, ", ") + `) AS k(` + columns + `) ` +
		`ON CONFLICT DO NOTHING RETURNING key_id, created_seq`
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
	for done := 0; done < len(keys); {
		run := keys[done:]
		if w.many != nil {
			run = run[:distinct(run)]
		}
		if room, err = w.createRun(ctx, network, run, results[done:], room, quota); err != nil {
			return nil, err
		}
		done += len(run)
	}
	return results, nil
}

// createRun adds keys that are inserted by one statement if there is one for that and room for all, else one by one. It
// returns the room that is left.
func (w *Writer) createRun(
	ctx context.Context, network core.NetworkID, keys []core.Key, results []core.CreateResult, room, quota int64,
) (left int64, err error) {
	var made map[string]core.Key
	if w.many != nil && int64(len(keys)) <= room {
		if made, err = w.insertMany(ctx, network, keys); err != nil {
			return 0, err
		}
	}
	for i, key := range keys {
		r := &results[i]
		if r.Err = w.refuse(&key, network); r.Err != nil {
			continue
		}
		if r.Key, r.Created = made[key.ID]; !r.Created {
			if room <= 0 {
				r.Key, r.Err = w.known(ctx, &key, quota)
			} else {
				r.Key, r.Created, r.Err = w.Create(ctx, key)
			}
		}
		switch {
		case r.Err != nil && !isRefusal(r.Err):
			return 0, r.Err
		case r.Created:
			room--
		}
	}
	return room, nil
}

// distinct is how many of the first keys have ids of their own.
func distinct(keys []core.Key) int {
	seen := make(map[string]struct{}, len(keys))
	for i := range keys {
		if _, twice := seen[keys[i].ID]; twice {
			return i
		}
		seen[keys[i].ID] = struct{}{}
	}
	return len(keys)
}

// insertMany inserts, by one statement, those of the keys whose ids and request ids are free, and returns them by their
// ids, which are distinct. It passes over keys that are to be refused.
func (w *Writer) insertMany(
	ctx context.Context, network core.NetworkID, keys []core.Key,
) (made map[string]core.Key, err error) {
	rows := make(map[string]*keyRow, len(keys))
	values := make([][]any, 0, len(keys))
	for i := range keys {
		row, err := rowOf(&keys[i])
		if err == nil && keys[i].Network == network {
			rows[row.id], values = row, append(values, row.values()[1:])
		}
	}
	sequences := make(map[string]int64, len(keys))
	err = each(ctx, w.many, func(r Rows) error {
		var (
			id       string
			sequence int64
		)
		err := r.Scan(&id, &sequence)
		sequences[id] = sequence
		return err
	}, append([]any{network[:], int64(0)}, arraysOf(values)...)...)
	if err != nil {
		return nil, err
	}
	made = make(map[string]core.Key, len(sequences))
	for i := range keys {
		k := &keys[i]
		sequence, ok := sequences[k.ID]
		if !ok {
			continue
		}
		rows[k.ID].sequence = sequence
		if made[k.ID], err = w.created(ctx, k, rows[k.ID], ""); err != nil {
			return nil, err
		}
	}
	return made, nil
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
	stored, err = w.created(ctx, &key, row, replaces)
	return stored, true, err
}

// created adds the event of a key's creation, and returns the key as it was stored.
func (w *Writer) created(ctx context.Context, key *core.Key, row *keyRow, replaces string) (core.Key, error) {
	w.add(ctx, key, feed.EventCreated, key.CreateTime).Related = replaces
	w.count(key, 1)
	return row.key(key.Network)
}

func errTaken() error { return core.NewError(core.Conflict, "a key with this id exists already") }
