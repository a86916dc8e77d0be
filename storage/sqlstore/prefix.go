package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/talos-edge/talos-edge/core"
)

const (
	countPrefix = `INSERT INTO issued_prefixes (network, prefix, keys) VALUES ($1, $2, $3) ` +
		`ON CONFLICT (network, prefix) DO UPDATE SET keys = issued_prefixes.keys + excluded.keys`
	uncountPrefix  = `UPDATE issued_prefixes SET keys = keys - $3 WHERE network = $1 AND prefix = $2`
	selectPrefixes = `SELECT prefix, keys FROM issued_prefixes WHERE network = $1 AND keys > 0 ORDER BY prefix`
)

// prefixChange is by how much the number of issued keys with a prefix changes.
type prefixChange struct {
	network core.NetworkID
	prefix  string
	by      int64
}

func (c *prefixChange) compare(other *prefixChange) int {
	return cmp.Or(bytes.Compare(c.network[:], other.network[:]), strings.Compare(c.prefix, other.prefix))
}

// count counts one key more (1) or fewer (-1) of its prefix. Imported keys have no prefix.
func (w *Writer) count(k *core.Key, by int64) {
	if k.Kind == core.Issued {
		w.counts = append(w.counts, prefixChange{k.Network, k.Prefix, by})
	}
}

// countPrefixes writes what was counted, in an order that is the same in all transactions: two of them never wait for
// each other.
func (w *Writer) countPrefixes(ctx context.Context) error {
	changes := slices.Clone(w.counts)
	slices.SortFunc(changes, func(a, b prefixChange) int { return a.compare(&b) })
	for i := range changes {
		c := &changes[i]
		if i+1 < len(changes) && c.compare(&changes[i+1]) == 0 {
			changes[i+1].by += c.by
			continue
		}
		stmt, by := w.counted, c.by
		if by < 0 {
			stmt, by = w.uncounted, -by
		}
		if by == 0 {
			continue
		}
		if _, err := stmt.Exec(ctx, c.network[:], c.prefix, by); err != nil {
			return err
		}
	}
	return nil
}

// Prefixes returns how many issued keys are not revoked, by prefix, as [core.Store] says.
func (r *Reader) Prefixes(ctx context.Context, network core.NetworkID) (counts []core.PrefixCount, err error) {
	err = each(ctx, r.prefixes, func(rows Rows) error {
		var c core.PrefixCount
		err := rows.Scan(&c.Prefix, &c.Keys)
		counts = append(counts, c)
		return err
	}, network[:])
	if err != nil {
		return nil, err
	}
	return counts, nil
}
