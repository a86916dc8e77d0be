package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/talos-edge/talos-edge/core"
)

const (
	selectCheck = `SELECT check_value FROM secrets WHERE network = $1`
	insertCheck = `INSERT INTO secrets (network, check_value) VALUES ($1, $2)`
	updateCheck = `UPDATE secrets SET check_value = $2 WHERE network = $1`
)

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
