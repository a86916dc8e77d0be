package sqlstore

import (
	"context"
	"database/sql"

	"github.com/talos-edge/talos-edge/core"
)

const (
	countPrefix = `INSERT INTO issued_prefixes (network, prefix, keys) VALUES ($1, $2, 1) ` +
		`ON CONFLICT (network, prefix) DO UPDATE SET keys = issued_prefixes.keys + 1`
	uncountPrefix  = `UPDATE issued_prefixes SET keys = keys - 1 WHERE network = $1 AND prefix = $2`
	selectPrefixes = `SELECT prefix, keys FROM issued_prefixes WHERE network = $1 AND keys > 0 ORDER BY prefix`
)

// count runs counted or uncounted for a key that was created or revoked. Imported keys have no prefix.
func count(ctx context.Context, stmt *sql.Stmt, k *core.Key) error {
	if k.Kind != core.Issued {
		return nil
	}
	_, err := stmt.ExecContext(ctx, k.Network[:], k.Prefix)
	return err
}

// Prefixes returns how many issued keys are not revoked, by prefix, as [core.Store] says.
func (r *Reader) Prefixes(ctx context.Context, network core.NetworkID) (counts []core.PrefixCount, err error) {
	err = each(ctx, r.prefixes, func(rows *sql.Rows) error {
		var c core.PrefixCount
		if err := rows.Scan(&c.Prefix, &c.Keys); err != nil {
			return err
		}
		counts = append(counts, c)
		return nil
	}, network[:])
	if err != nil {
		return nil, err
	}
	return counts, nil
}
