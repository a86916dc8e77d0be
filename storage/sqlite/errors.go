package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/talos-edge/talos-edge/core"
)

// unavailable are SQLite's primary result codes that say that the database does not answer now, and what is told.
var unavailable = map[int]string{
	sqlite3.SQLITE_BUSY:     "the database is locked by another process",
	sqlite3.SQLITE_LOCKED:   "the database is locked",
	sqlite3.SQLITE_PROTOCOL: "the database is locked by another process",
	sqlite3.SQLITE_FULL:     "the disk is full",
	sqlite3.SQLITE_READONLY: "the database is read-only",
	sqlite3.SQLITE_PERM:     "the database may not be read or written",
	sqlite3.SQLITE_AUTH:     "the database may not be read or written",
	sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
	sqlite3.SQLITE_IOERR:    "the database file cannot be read or written",
	sqlite3.SQLITE_NOMEM:    "the database has no memory",
	sqlite3.SQLITE_CORRUPT:  "the database file is damaged",
	sqlite3.SQLITE_NOTADB:   "the file is not a database",
}

// translate gives an error of the driver or of a context its [core.Error]. The cause stays in it for the log.
func translate(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*core.Error](err); ok {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return core.WrapError(core.DeadlineExceeded, "the database did not answer in time", err)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		if message, ok := unavailable[e.Code()&0xff]; ok {
			return core.WrapError(core.Unavailable, message, err)
		}
		if isUnique(e) {
			return core.WrapError(core.Conflict, "the key exists already", err)
		}
	}
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn) {
		return core.WrapError(core.Unavailable, "the connection to the database was lost", err)
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return core.WrapError(core.Unavailable, "the database file cannot be opened", err)
	}
	return core.WrapError(core.Internal, "the database failed", err)
}

// failsAlone reports whether an error is about one change only: the transaction is as sound as before it.
func failsAlone(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()&0xff == sqlite3.SQLITE_CONSTRAINT
	}
	_, ok := errors.AsType[*core.Error](err)
	return ok
}

func isUnique(e *sqlite.Error) bool {
	return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

func isBusy(err error) bool { return isCode(err, sqlite3.SQLITE_BUSY) }

func isInterrupted(err error) bool { return isCode(err, sqlite3.SQLITE_INTERRUPT) }

// isCode reports whether an error has one of SQLite's primary result codes.
func isCode(err error, code int) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code()&0xff == code
}
