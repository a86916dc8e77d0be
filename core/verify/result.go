package verify

import (
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// Status says where a verdict came from.
type Status uint8

// The statuses.
const (
	Miss      Status = iota // looked up for this request
	Hit                     // a good verdict from the cache
	Negative                // any other verdict from the cache
	Stale                   // a good verdict past its lifetime, because the source fails
	Coalesced               // looked up for another request at the same time
	Local                   // needed no look-up
	numStatus
)

// Statuses are all statuses, for whoever counts them.
var Statuses = [...]Status{Miss, Hit, Negative, Stale, Coalesced, Local}

// String is the status' name in metrics.
func (s Status) String() string {
	switch s {
	case Miss:
		return "miss"
	case Hit:
		return "hit"
	case Negative:
		return "negative"
	case Stale:
		return "stale"
	case Coalesced:
		return "coalesced"
	case Local:
		return "local"
	default:
		return "unknown"
	}
}

// FromCache reports whether the verdict was remembered and not looked up.
func (s Status) FromCache() bool { return s == Hit || s == Negative || s == Stale }

// Result is the answer to one credential.
type Result struct {
	// Verdict is what is known of the key, never nil without an error. It is shared: do not change it. Its code is not
	// yet a decision, see package policy.
	Verdict *core.Verdict

	// Position is the position in the feed of changes up to which every change is in the verdict.
	Position uint64

	// Now is the reading of the clock to judge the verdict by. It was taken when the verdict was at hand.
	Now time.Time

	// Err is set in place of Verdict, by [Verifier.VerifyMany] only.
	Err error

	// Cache says where the verdict came from.
	Cache Status
}
