package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
)

// ReadSecretCheck reads the check value of the HMAC secret that a network's keys in the database file at path were made
// with. It is empty when no node has used the file for the network, and when there is no file. Nothing is created,
// migrated or changed. A file that cannot be read, or is locked until ctx ends, is [core.Unavailable].
func ReadSecretCheck(
	ctx context.Context, path string, network core.NetworkID, opts Options,
) (check string, err error) {
	if path, err = Canonical(path); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if check, err = readSecretCheck(ctx, path, network, opts.Logger); err != nil {
		return "", fmt.Errorf("read %s: %w", path, translate(err))
	}
	return check, nil
}

func readSecretCheck(
	ctx context.Context, path string, network core.NetworkID, logger *zap.Logger,
) (check string, err error) {
	db, err := sql.Open("sqlite", uri(path, 0, "query_only(1)"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = whenFree(ctx, logger, path, openWait, func() error {
		var tables int
		err := db.QueryRowContext(ctx,
			"SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'secrets'").Scan(&tables)
		if err != nil || tables == 0 {
			return err
		}
		return db.QueryRowContext(ctx, "SELECT check_value FROM secrets WHERE network = $1", network[:]).Scan(&check)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return check, err
}
