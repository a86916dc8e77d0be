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

// EventRestored is no change of a key, and names none: the database is a copy that was restored. It continues at a
// position beyond all that the original database can have given. Whoever followed that one's feed starts over, because
// what it has read last may never have happened here.
const EventRestored EventKind = 5

// EventKinds are all kinds of change of a key.
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
	case EventRestored:
		return "restored"
	default:
		return "unknown"
	}
}

// Event is one change of one key.
type Event struct {
	Position uint64    // in the feed: the first change has 1, each other one that after the last, but for EventRestored
	Network  uuid.UUID // a core.NetworkID
	KeyID    string
	Kind     EventKind
	Time     time.Time
	Actor    string // who did it: "operator" or "holder"
	Reason   uint8  // of a revocation: the number of a core.RevocationReason; else 0
}
