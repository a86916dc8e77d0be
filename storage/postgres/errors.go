package postgres

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/talos-edge/talos-edge/core"
)

// Error codes of PostgreSQL, https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	queryCanceled        = "57014"
	syntaxError          = "42601"
	notSupported         = "0A000"

	statementCompletionUnknown = "40003"
	connectionException        = "08"
	operatorIntervention       = "57" // and three characters more
)

// refused are codes whose cause is in the change itself, and what is told.
var refused = map[string]string{
	"22021": "a text has a character that the database cannot store",
	"22P05": "a text has a character that the database cannot store",
	"54000": "the key is too large for the database",
}

// unavailable are codes, or their classes of two characters, that say that the database does not answer now.
var unavailable = map[string]string{
	serializationFailure: "the database is busy with the changes of other nodes",
	deadlockDetected:     "the database is busy with the changes of other nodes",
	lockNotAvailable:     "the database is busy with the changes of other nodes",
	queryCanceled:        "the database took longer than its statement_timeout",
	"25006":              "the database is read-only: it is a standby",
	"26000": "the connection's prepared statements are gone: behind a proxy that pools transactions, add " +
		"default_query_exec_mode=exec to the DSN",
	"42P05": "another session's prepared statements were found: behind a proxy that pools transactions, add " +
		"default_query_exec_mode=exec to the DSN",
	"42501":             "the database user lacks a privilege",
	"42P01":             "the database has not the tables of this build",
	"42703":             "the database has not the columns of this build",
	"3D000":             "there is no such database",
	"53100":             "the database's disk is full",
	"53300":             "the database has no connection free",
	connectionException: "the connection to the database was lost",
	"28":                "the database refuses the user or the password",
	"53":                "the database lacks memory or disk",
	"57":                "the database was shut down or is starting",
	"58":                "the database cannot read or write its files",
	"XX":                "the database is damaged",
}

// translate gives an error of the driver or of a context its [core.Error]. The cause stays in it for the log; the
// driver keeps passwords out of it.
func translate(err error) error {
	if err == nil || isRefusal(err) {
		return err
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return translateCode(e.Code, err)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return core.WrapError(core.DeadlineExceeded, "the database did not answer in time", err)
	}
	return core.WrapError(core.Unavailable, "the database cannot be reached", err)
}

func translateCode(code string, err error) error {
	if message, ok := refused[code]; ok {
		return core.WrapError(core.BadRequest, message, err)
	}
	if code == uniqueViolation {
		return core.WrapError(core.Conflict, "the key exists already", err)
	}
	for _, c := range []string{code, code[:min(2, len(code))]} {
		if message, ok := unavailable[c]; ok {
			return core.WrapError(core.Unavailable, message, err)
		}
	}
	return core.WrapError(core.Internal, "the database failed", err)
}

// isRefusal reports whether an error has a meaning already.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*core.Error](err)
	return ok
}

// isUnknown reports whether after this error of a commit it is not known if it was made: the server has not refused it.
// It may also end the session after the commit, and a proxy says so when it has lost the server.
func isUnknown(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return !ok || cmp.Or(e.SeverityUnlocalized, e.Severity) != "ERROR" ||
		strings.HasPrefix(e.Code, connectionException) || e.Code == statementCompletionUnknown
}

// isLost reports whether a connection that was there was lost: another one may work.
func isLost(err error) bool {
	if err == nil || isRefusal(err) || errors.Is(err, errNoReplica) {
		return false
	}
	if _, refused := errors.AsType[*pgconn.ConnectError](err); refused {
		return false
	}
	e, answered := errors.AsType[*pgconn.PgError](err)
	return !answered || strings.HasPrefix(e.Code, connectionException) ||
		strings.HasPrefix(e.Code, operatorIntervention) && e.Code != queryCanceled
}

// isBusy reports whether a transaction met another one and can be tried again.
func isBusy(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == serializationFailure || e.Code == deadlockDetected || e.Code == lockNotAvailable)
}
