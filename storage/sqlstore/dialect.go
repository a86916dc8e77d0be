package sqlstore

import "time"

// Dialect is what an engine's SQL and its driver's errors have of their own. All fields are set.
type Dialect struct {
	// Begin begins a transaction that writes.
	Begin string
	// KeyIDIn is the condition that the column key_id is one of the ids in the parameter $2.
	KeyIDIn string
	// KeyIDs makes that parameter.
	KeyIDs func(ids []string) (any, error)

	// Translate gives an error of the driver or of a context its [core.Error]. nil stays nil.
	Translate func(error) error
	// FailsAlone reports whether an error is about one change only: the transaction is as sound as before it.
	FailsAlone func(error) bool
	// Busy reports whether a transaction could not begin because another process has the lock: it can be tried again.
	Busy func(error) bool
}

const (
	minLockDelay = time.Millisecond
	maxLockDelay = 25 * time.Millisecond
)

// NextLockDelay is how long to wait before a lock is asked for again, after a delay before: 1 ms at first (0 before),
// then twice as long each time, up to 25 ms.
func NextLockDelay(before time.Duration) time.Duration {
	return min(max(2*before, minLockDelay), maxLockDelay)
}
