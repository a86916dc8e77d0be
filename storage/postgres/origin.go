package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

const (
	// selectOrigin names the server, the timeline and the database. A timeline ends where a standby is promoted.
	selectOrigin = `SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || ` +
		`substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '/' || ` +
		`(SELECT oid FROM pg_database WHERE datname = current_database())::text`
	// insertRestored takes the network of no key.
	insertRestored = `INSERT INTO events (seq, network, key_id, key_kind, actor_id, kind, time, reason, ` +
		`related_key_id, caller_kind, caller_id, caller_user, request_id) ` +
		`VALUES ($1, $2, '', 0, '', $3, $4, 0, '', $5, '', '', '')`
)

// adopt makes sure that the feed was written where it is now. If it was not (a standby was promoted and may lack the
// last changes, or the database was restored), positions may have been given that are not in it, and would be given
// once more. So the feed gets another name and continues at a position taken from the clock, in microseconds since
// 1970: no database makes a change a microsecond for long, so all that were given are lower. The event there is a
// [feed.EventRestored]. It is called on every new connection, before what is read or written on it counts.
func adopt(ctx context.Context, c *pgx.Conn, logger *zap.Logger) error {
	var now, known string
	if err := c.QueryRow(ctx, "SELECT origin FROM feed").Scan(&known); err != nil {
		return err
	}
	if err := checkCopying(known); err != nil {
		return err
	}
	if err := c.QueryRow(ctx, selectOrigin).Scan(&now); err != nil {
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && isUnknownOrigin(e.Code) {
			return nil
		}
		return err
	}
	if known == now {
		return nil
	}
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		// Another node may have been first.
		if err := tx.QueryRow(ctx, "SELECT origin FROM feed FOR UPDATE").Scan(&known); err != nil || known == now {
			return err
		}
		if err := checkCopying(known); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE feed SET origin = $1", now); err != nil || known == "" {
			return err
		}
		return restore(ctx, tx, logger)
	})
}

// checkCopying refuses a database that is being copied into.
func checkCopying(origin string) error {
	if strings.HasPrefix(origin, copyingOrigin) {
		return sqlstore.CopyingError()
	}
	return nil
}

// isUnknownOrigin reports whether a database cannot say where it is: it is no PostgreSQL, its user may not know, or it
// is a standby, which nothing is written to.
func isUnknownOrigin(code string) bool {
	switch code {
	case "42883", "42P01", "42501", notSupported, "55000":
		return true
	}
	return false
}

// restore continues the feed under another name and beyond all positions that were given.
func restore(ctx context.Context, tx pgx.Tx, logger *zap.Logger) error {
	at := time.Now().UnixMicro()
	var before, last int64
	if err := tx.QueryRow(ctx, "SELECT last FROM feed_last FOR UPDATE").Scan(&before); err != nil {
		return err
	}
	err := tx.QueryRow(ctx, "UPDATE feed_last SET last = greatest(last + 1, $1) RETURNING last", at).Scan(&last)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "UPDATE feed SET id = replace(gen_random_uuid()::text, '-', '')"); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, insertRestored, last, make([]byte, 16), int64(feed.EventRestored), at,
		int64(feed.CallerSystem))
	if err != nil {
		return err
	}
	logger.Warn("the database was copied, restored, or failed over to another server: its feed of changes continues "+
		"at a new position, and every node and edge looks its keys up again",
		zap.Int64("there_up_to", before), zap.Int64("position", last))
	return nil
}

// rewind continues a feed that ends before what was read of it, although it seems to be where it was.
func rewind(ctx context.Context, c *pgx.Conn, applied uint64, logger *zap.Logger) error {
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		var last int64
		if err := tx.QueryRow(ctx, "SELECT last FROM feed_last FOR UPDATE").Scan(&last); err != nil {
			return err
		}
		if uint64(last) >= applied { //nolint:gosec // positions are not negative
			return nil // another node was first
		}
		return restore(ctx, tx, logger)
	})
	if err != nil {
		return fmt.Errorf("continue the feed: %w", err)
	}
	return nil
}
