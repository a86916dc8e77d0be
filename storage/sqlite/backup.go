package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// copyMark is SQLite's user_version of a complete copy, until a node opens it. That of a file that is being copied into
// is below 0, and that of any other file is 0.
const copyMark = 0x7a105

// Backup copies the database file at path to target, as of one moment, and returns what the copy holds. Writers go on
// meanwhile; the source's write-ahead log is not cut before the copy is complete. target is made with mode 0600, must
// not exist, and is not synced to the disk; after an error it may be there in part. A missing source, and one whose
// schema is newer than this build, are [core.FailedPrecondition].
//
// A node that opens the copy continues the feed of changes at a higher position than the source can have reached.
func Backup(ctx context.Context, path, target string) (*sqlstore.State, error) {
	path, err := existing(path)
	if err != nil {
		return nil, err
	}
	if target, err = filepath.Abs(target); err != nil {
		return nil, fmt.Errorf("path of the copy: %w", err)
	}
	before, err := ReadState(ctx, path)
	if err != nil {
		return nil, err
	}
	schema := before.Schema()
	if err := schema.Check(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(target, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the caller's own path
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if err := vacuumInto(ctx, path, target); err != nil {
		return nil, fmt.Errorf("copy database %s to %s: %w", path, target, translate(err))
	}
	state := &sqlstore.State{Newest: before.Newest, Files: []string{target}}
	err = withPool(uri(target, busyTimeout, "journal_mode(OFF)"), func(db *sql.DB) error {
		if _, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", copyMark)); err != nil {
			return err
		}
		return readState(ctx, db, state)
	})
	if err != nil {
		return nil, fmt.Errorf("mark the copy %s: %w", target, translate(err))
	}
	return state, nil
}

// vacuumInto copies a file that others may have open. Where nothing can be written beside it, no node can change it
// either, and it is read as it is.
func vacuumInto(ctx context.Context, path, target string) error {
	into := func(name string) error {
		return withPool(name, func(db *sql.DB) error {
			_, err := db.ExecContext(ctx, "VACUUM INTO ?", target)
			return err
		})
	}
	err := into(uri(path, busyTimeout))
	if isCode(err, sqlite3.SQLITE_CANTOPEN) || isCode(err, sqlite3.SQLITE_READONLY) {
		return onReadOnly(path, into)
	}
	return err
}

// continueCopy makes a complete copy a database of its own. The database that it was copied from may have
// gone on, and whoever followed its feed knows positions beyond those of the copy: an edge would pass over changes that
// got the same positions once more, and take answers for outdated ones. So the feed continues at a position taken from
// the clock, in microseconds since 1970: no database makes a change a microsecond for long, so all positions that were
// given before are lower. The event there is a [feed.EventRestored].
func continueCopy(ctx context.Context, path string, logger *zap.Logger) error {
	return locked(ctx, path, logger, false, func(conn *sql.Conn) error {
		var version int
		if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return err
		}
		if version != copyMark {
			return errDone
		}
		// A key that came from another engine may have a higher number than the last event.
		var last int64
		err := conn.QueryRowContext(ctx, "SELECT MAX(COALESCE((SELECT MAX(seq) FROM events), 0), "+
			"COALESCE((SELECT MAX(created_seq) FROM keys), 0))").Scan(&last)
		if err != nil {
			return err
		}
		now := time.Now().UnixMicro()
		position := max(now, last+1)
		_, err = conn.ExecContext(ctx, "INSERT INTO events (seq, network, key_id, kind, time, reason, caller_kind) "+
			"VALUES (?, zeroblob(16), '', ?, ?, 0, ?)",
			position, int64(feed.EventRestored), now, int64(feed.CallerSystem))
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "UPDATE feed SET id = lower(hex(randomblob(16)))"); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "PRAGMA user_version = 0"); err != nil {
			return err
		}
		logger.Info("the database was copied, or restored from a backup: its feed continues at a new position",
			zap.String("path", path), zap.Int64("copied_up_to", last), zap.Int64("position", position))
		return nil
	})
}

// userVersion reads SQLite's user_version. It takes no lock.
func userVersion(ctx context.Context, path string) (version int, err error) {
	err = withPool(uri(path, busyTimeout, "query_only(1)"), func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	})
	return version, err
}

// adoptCopy is [continueCopy] for a database that is a copy, and nothing for any other. One that is being copied into
// is [core.FailedPrecondition].
func adoptCopy(ctx context.Context, path string, logger *zap.Logger) error {
	version, err := userVersion(ctx, path)
	switch {
	case err != nil:
		return err
	case version < 0:
		return sqlstore.CopyingError()
	case version != copyMark:
		return nil
	}
	if err := continueCopy(ctx, path, logger); err != nil && !errors.Is(err, errDone) {
		return err // errDone: another process was first
	}
	return nil
}
