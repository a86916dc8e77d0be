package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// ReadSecretCheck reads the check value of the HMAC secret that a network's keys in the database file at path were made
// with, whatever version its schema has. It is empty when no node has used the file for the network, and when there is
// no file. Nothing is created, migrated or changed. A file that cannot be read, or is locked until ctx ends, is
// [core.Unavailable].
func ReadSecretCheck(ctx context.Context, path string, network core.NetworkID, opts Options) (string, error) {
	path, err := existing(path)
	if core.ReasonOf(err) == core.FailedPrecondition {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	var checks map[core.NetworkID]string
	err = withPool(uri(path, 0, "query_only(1)"), func(db *sql.DB) error {
		return whenFree(ctx, opts.Logger, path, openWait, func() error {
			there, err := hasTable(ctx, db, "secrets")
			if err != nil || !there {
				return err
			}
			checks, err = sqlstore.ReadChecks(ctx, db)
			return err
		})
	})
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, translate(err))
	}
	return checks[network], nil
}
