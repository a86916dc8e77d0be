package feed

import (
	"time"

	"github.com/google/uuid"
)

// EventKind says what happened to a key.
type EventKind uint8

// The kinds of change. A rotation is two events: the new key is created, and the old one is rotated, which revokes it
// at once or makes it expire at the end of a grace period.
const (
	EventCreated EventKind = iota + 1
	EventRevoked
	EventUpdated
	EventDeleted

	// EventRestored is no change of a key, and names none: the database is a copy that was restored. It continues at a
	// position beyond all that the original database can have given. Whoever followed that one's feed starts over,
	// because what it has read last may never have happened here.
	EventRestored

	EventRotated
	EventSuspended
	EventResumed

	// EventNetworkChanged is no change of a key: a network was created, suspended or resumed. The event is of
	// core.SystemNetwork, and the network's id is in place of the key's.
	EventNetworkChanged

	eventKinds = iota + 1 // the number after the last kind
)

// EventKinds are all kinds of change of a key.
var EventKinds = [...]EventKind{
	EventCreated, EventRevoked, EventUpdated, EventDeleted, EventRotated, EventSuspended, EventResumed,
}

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
	case EventRotated:
		return "rotated"
	case EventSuspended:
		return "suspended"
	case EventResumed:
		return "resumed"
	case EventNetworkChanged:
		return "network changed"
	default:
		return "unknown"
	}
}

// Event is one change of one key.
type Event struct {
	Position uint64    // in the feed: the first change has 1, each other one that after the last, but for EventRestored
	Network  uuid.UUID // a core.NetworkID
	KeyID    string
	KeyKind  uint8  // the number of a core.Kind
	ActorID  string // whom the key acts for
	Kind     EventKind
	Time     time.Time
	Reason   uint8  // of a revocation: the number of a core.RevocationReason; else 0, as of a rotation with grace
	Related  string // of a rotation: the id of the other key
	Caller   Caller
}

// CallerKind says how a [Caller] was recognised.
type CallerKind uint8

// The kinds of caller.
const (
	CallerUnknown     CallerKind = iota // of an event of an earlier build, which did not record it
	CallerSystem                        // the server itself
	CallerAddress                       // nobody has authenticated it: its address is known, if anything is
	CallerKey                           // an API key that a gate has admitted: its key id
	CallerCertificate                   // a client certificate: its subject
	CallerHolder                        // whoever has the key itself
)

// Caller is who has made a change, and by which request.
type Caller struct {
	Kind      CallerKind
	ID        string // in the terms of Kind; may be empty
	User      string // whom the server in front has authenticated in another way; empty: nobody
	RequestID string // the request's name in the logs; empty: it has none
}

// Page is a part of a feed, in the order of positions.
type Page struct {
	FeedID string // names the feed: another database has another one, and so has one that was restored from a copy
	Events []Event
	Begin  uint64 // the events up to this position are not kept any more
	Last   uint64 // the position of the newest event
}
