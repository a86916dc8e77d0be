package engine

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// eventTypes are the names of what happens to keys, of issued and of imported ones.
var eventTypes = map[feed.EventKind][2]string{
	feed.EventCreated: {"IssuedAPIKeyCreated", "ImportedAPIKeyCreated"},
	feed.EventUpdated: {"IssuedAPIKeyUpdated", "ImportedAPIKeyUpdated"},
	feed.EventRevoked: {"IssuedAPIKeyRevoked", "ImportedAPIKeyRevoked"},
	feed.EventRotated: {"IssuedAPIKeyRotated", ""},
	feed.EventDeleted: {"", "ImportedAPIKeyDeleted"},

	feed.EventSuspended: {"APIKeySuspended", "APIKeySuspended"},
	feed.EventResumed:   {"APIKeyResumed", "APIKeyResumed"},
}

// EventType is the name of what happened: which change of which kind of key.
func EventType(e *feed.Event) string {
	kind := 0
	if e.KeyKind == uint8(core.Imported) {
		kind = 1
	}
	if name := eventTypes[e.Kind][kind]; name != "" {
		return name
	}
	return "Unknown"
}

// EventTypes are the names of all types of an event, in alphabetical order.
func EventTypes() []string {
	var all []string
	for _, names := range eventTypes {
		for _, name := range names {
			if name != "" {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// EventFilter narrows a list of events. The zero value lets all of them through.
type EventFilter struct {
	KeyID   string
	ActorID string    // whom the key acts for
	Type    string    // as EventType has it
	From    time.Time // the first moment
	Before  time.Time // the first moment that is out
}

// ParseEventFilter reads a filter: `key_id="…"`, `actor_id="…"`, `type="…"`, `time>="…"` and `time<"…"` with times of
// RFC 3339, each at most once, joined by AND as in [ParseFilter]. An empty filter is the zero value; anything else is
// [core.BadRequest].
func ParseEventFilter(s string) (EventFilter, error) {
	const example = `key_id="…" AND type="IssuedAPIKeyRevoked" AND time>="2026-11-01T00:00:00Z"`
	var f EventFilter
	if err := parseConditions(s, example, f.condition); err != nil {
		return EventFilter{}, err
	}
	return f, nil
}

// condition reads the value of one condition and returns what follows.
func (f *EventFilter) condition(name, operator, value string) (rest string, err error) {
	switch name + operator {
	case "key_id=":
		return quotedOnce(&f.KeyID, name, value)
	case "actor_id=":
		return quotedOnce(&f.ActorID, name, value)
	case "type=":
		if rest, err = quotedOnce(&f.Type, name, value); err == nil && !slices.Contains(EventTypes(), f.Type) {
			err = errors.New("type is one of " + strings.Join(EventTypes(), ", "))
		}
		return rest, err
	case "time>=":
		return timeOnce(&f.From, name+operator, value)
	case "time<":
		return timeOnce(&f.Before, name+operator, value)
	}
	return "", errNoCondition
}

// timeOnce reads the quoted time of a condition into a place that must be empty yet.
func timeOnce(into *time.Time, name, value string) (rest string, err error) {
	if !into.IsZero() {
		return "", errors.New(name + " is in it twice")
	}
	text, rest, err := unquote(name, value)
	if err != nil {
		return "", err
	}
	if *into, err = time.Parse(time.RFC3339, text); err != nil || into.IsZero() {
		return "", errors.New(name + ` has a time such as "2026-11-01T00:00:00Z"`)
	}
	return rest, nil
}

func (f *EventFilter) matches(e *feed.Event) bool {
	return (f.KeyID == "" || f.KeyID == e.KeyID) &&
		(f.ActorID == "" || f.ActorID == e.ActorID) &&
		(f.Type == "" || f.Type == EventType(e)) &&
		(f.From.IsZero() || !e.Time.Before(f.From)) &&
		(f.Before.IsZero() || e.Time.Before(f.Before))
}
