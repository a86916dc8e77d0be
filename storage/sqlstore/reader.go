package sqlstore

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/talos-edge/talos-edge/core"
)

const selectKey = `SELECT ` + keyColumns + ` FROM keys WHERE network = $1 AND key_id = $2`

// Reader looks keys up and lists them. It may be used from several goroutines when it was prepared on a pool.
type Reader struct {
	prepared
	dialect      *Dialect
	get, getMany Statement
	prefixes     Statement
	expiring     Statement
	networks     Statement
	lists        lists
}

// NewReader prepares a Reader. Whoever does closes it.
func NewReader(ctx context.Context, p Preparer, d *Dialect) (*Reader, error) {
	r := &Reader{dialect: d}
	selectKeys := `SELECT ` + keyColumns + ` FROM keys WHERE network = $1 AND ` + d.KeyIDIn
	var err error
	r.prepared, err = prepare(ctx, p,
		append(r.lists.statements(), statement{&r.get, selectKey}, statement{&r.getMany, selectKeys},
			statement{&r.prefixes, selectPrefixes}, statement{&r.expiring, selectExpiring},
			statement{&r.networks, selectNetworks})...)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Get returns a key, or [core.KeyNotFound].
func (r *Reader) Get(ctx context.Context, network core.NetworkID, keyID string) (core.Key, error) {
	if !isKeyID(keyID) {
		return core.Key{}, errNotFound()
	}
	k, found, err := oneKey(ctx, r.get, network, network[:], keyID)
	if err != nil {
		return core.Key{}, err
	}
	if !found {
		return core.Key{}, errNotFound()
	}
	return k, nil
}

// GetMany returns those of the named keys that exist, by id, with one query.
func (r *Reader) GetMany(
	ctx context.Context, network core.NetworkID, keyIDs []string,
) (map[string]core.Key, error) {
	found := make(map[string]core.Key, len(keyIDs))
	if !slices.ContainsFunc(keyIDs, isNoKeyID) {
		return found, r.getAll(ctx, network, keyIDs, found)
	}
	return found, r.getAll(ctx, network, slices.DeleteFunc(slices.Clone(keyIDs), isNoKeyID), found)
}

func (r *Reader) getAll(
	ctx context.Context, network core.NetworkID, keyIDs []string, found map[string]core.Key,
) error {
	if len(keyIDs) == 0 {
		return nil
	}
	ids, err := r.dialect.KeyIDs(keyIDs)
	if err != nil {
		return err
	}
	return keys(ctx, r.getMany, network, func(k core.Key) { found[k.ID] = k }, network[:], ids)
}

// isKeyID reports whether a text can be the id of a key. Some databases can store no other text.
func isKeyID(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func isNoKeyID(s string) bool { return !isKeyID(s) }

func errNotFound() error { return core.NewError(core.KeyNotFound, "no such key") }
