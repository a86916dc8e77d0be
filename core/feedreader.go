package core

import "time"

// FeedReader is the progress of a reader of the feed that delivers to an external receiver.
type FeedReader struct {
	Position     uint64    // of the last event that is done, and with it all before
	NoticesUntil time.Time // no notice of a key's expiry that was due before is left to deliver
}

// ReaderClaim is a request to be the one process that reads the feed under a name.
type ReaderClaim struct {
	Name  string
	Owner string        // names the process; not empty
	Lease time.Duration // for how long, from now on
}

// ExpiryQuery asks for a network's keys that expire in a period, in the order of their expiry and then of their ids.
// Only active keys without a successor are meant.
type ExpiryQuery struct {
	Network NetworkID
	From    time.Time // the first moment of the period
	Before  time.Time // the first moment behind it
	AfterID string    // of the keys that expire at From, those with a higher id; empty: all
	Limit   int       // 1 or more
}
