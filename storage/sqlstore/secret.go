package sqlstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/talos-edge/talos-edge/core"
)

const (
	selectCheck = `SELECT check_value FROM secrets WHERE network = $1`
	insertCheck = `INSERT INTO secrets (network, check_value) VALUES ($1, $2) ON CONFLICT (network) DO NOTHING`
	updateCheck = `UPDATE secrets SET check_value = $2 WHERE network = $1`
)

// ClaimSecret compares a network's HMAC secrets with the ones that its keys were made with, as [core.Store] says.
func (w *Writer) ClaimSecret(ctx context.Context, network core.NetworkID, checks []string) error {
	if len(checks) == 0 {
		return core.NewError(core.Internal, "no check value of an HMAC secret was given")
	}
	// A row that another transaction inserts meanwhile is read after it.
	if _, err := w.newCheck.Exec(ctx, network[:], checks[0]); err != nil {
		return err
	}
	var stored string
	if _, err := One(ctx, w.check, []any{&stored}, network[:]); err != nil {
		return err
	}
	switch {
	case stored == checks[0]:
		return nil
	case slices.Contains(checks, stored):
		_, err := w.nextCheck.Exec(ctx, network[:], checks[0])
		return err
	default:
		return core.NewError(core.FailedPrecondition, fmt.Sprintf("the HMAC secrets of network %s, current and "+
			"retired, do not include the one that its keys were made with: none of them would verify", network))
	}
}
