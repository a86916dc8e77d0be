package feed

import (
	"time"

	"github.com/google/uuid"
)

// EventKind says what happened to a key.
type EventKind uint8

// The kinds of change. A rotation is two: the new key is created, the old one revoked.
const (
	EventCreated EventKind = iota + 1
	EventRevoked
	EventUpdated
	EventDeleted
)

// EventKinds are all kinds of change.
var EventKinds = [...]EventKind{EventCreated, EventRevoked, EventUpdated, EventDeleted}

// String is the kind's name in the feed and in metrics.
func (k EventKind) String() string {
	switch k {
	case EventCreated:
		return "created"
	case EventRevoked:
		return "revoked"
	case EventUpdated:
		return "updated"
	case EventDeleted:
		return "deleted"
	default:
		return "unknown"
	}
}

// Event is one change of one key.
type Event struct {
	Position uint64    // in the feed: the first change has 1, and each one the position after that of the one before
	Network  uuid.UUID // a core.NetworkID
	KeyID    string
	Kind     EventKind
	Time     time.Time
	Actor    string // who did it: "operator" or "holder"
	Reason   uint8  // of a revocation: the number of a core.RevocationReason; else 0
}
