package sqlstore

import (
	"errors"

	"github.com/talos-edge/talos-edge/core"
)

// ClosedError is the error of a call after the store was closed.
func ClosedError() error { return core.NewError(core.Unavailable, "the store is closed") }

// errNotBegun is for a caller that went away while its change waited.
func errNotBegun(cause error) error {
	return core.WrapError(core.DeadlineExceeded, "the database did not answer in time; nothing was changed", cause)
}

// errUnknown is for a caller that went away while its change was being committed.
func errUnknown(cause error) error {
	return core.WrapError(core.DeadlineExceeded,
		"the database did not answer in time; "+errOutcome.Error(), cause)
}

// errOutcome is in the error of a commit that may have been made.
var errOutcome = errors.New("whether the change was made is not known")

// errNoTransaction is in the error of changes for which no transaction could be begun.
var errNoTransaction = errors.New("no transaction could be begun")

// CopyingError is the error of a database that another one is being copied into.
func CopyingError() error {
	return core.NewError(core.FailedPrecondition, "a copy into this database has not been completed: let talos copy "+
		"complete it, or begin it anew")
}
