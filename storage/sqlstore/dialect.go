package sqlstore

import "time"

// Dialect is what an engine's SQL and its driver's errors have of their own. All fields but those that say so are set.
type Dialect struct {
	// Begin begins a transaction that writes.
	Begin string
	// Locked ends a query in such a transaction whose row is changed after it: no other transaction may change the row
	// in between. Empty where only one transaction writes at a time.
	Locked string
	// LockQuota locks the quota of the network $1 until the end of the transaction. Empty as above.
	LockQuota string
	// KeyIDIn is the condition that the column key_id is one of the ids in the parameter $2.
	KeyIDIn string
	// KeyIDs makes that parameter.
	KeyIDs func(ids []string) (any, error)

	// Sequence is the value of a new key's created_seq, of which the parameter $2 is the position of the event of its
	// creation, or 0 with AppendEvents.
	Sequence string
	// AppendEvents writes the events of a transaction at its end: it takes their positions and returns the last of
	// them. Its parameters are arrays of the events' columns, in the order of eventColumns, and their number. Empty: a
	// transaction that has begun is the only one that writes, and so knows the positions of its events before that.
	AppendEvents string

	// Arrays says that parameters can be arrays, of which unnest makes rows: many keys are inserted by one statement.
	Arrays bool
	// Savepoints says that an error of the driver can be about one change of a transaction only, which is as sound as
	// before after going back to a savepoint. Otherwise a change that fails in the database takes its group with it.
	Savepoints bool
	// Ahead is how much later the database's clock is than this process's: times that processes compare with each
	// other are stored by the database's. nil: they have one clock.
	Ahead func() time.Duration

	// Translate gives an error of the driver or of a context its [core.Error]. nil stays nil.
	Translate func(error) error
	// FailsAlone reports whether an error is about one change only.
	FailsAlone func(error) bool
	// Busy reports whether a transaction failed because of one of another process: it can be tried again.
	Busy func(error) bool
	// Unknown reports whether after this error of a commit it is not known if it was made: the connection may be lost.
	Unknown func(error) bool
}

// now is the present by the database's clock.
func (d *Dialect) now() time.Time { return time.Now().Add(d.ahead()) }

func (d *Dialect) ahead() time.Duration {
	if d.Ahead == nil {
		return 0
	}
	return d.Ahead()
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
