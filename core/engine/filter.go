package engine

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// MaxFilterLength is the length of the longest filter of a list, in bytes.
const MaxFilterLength = 8192

// filterStatuses are the states that a filter can ask for, by the names that they have in it.
var filterStatuses = map[string]core.Status{
	"KEY_STATUS_ACTIVE":  core.StatusActive,
	"KEY_STATUS_REVOKED": core.StatusRevoked,
	"KEY_STATUS_EXPIRED": core.StatusExpired,
}

// Filter narrows a list of keys. The zero value lets all keys through.
type Filter struct {
	ActorID string      // empty: of any actor
	Status  core.Status // StatusUnknown: in any state

	// UsedBefore is the first moment after the last use of the keys; one that was never used is before any. Zero:
	// whenever used.
	UsedBefore time.Time
}

// ParseFilter reads a filter: `actor_id="x"`, `status=KEY_STATUS_ACTIVE` (or …REVOKED, …EXPIRED) and
// `last_used_time<"…"` with a time of RFC 3339, each at most once, joined by AND. In the quotes, `\"` means a quote and
// `\\` a backslash. Spaces are allowed around an operator, and required around AND. An empty filter is the zero value;
// anything else is [core.BadRequest].
func ParseFilter(s string) (Filter, error) {
	var f Filter
	if err := parseConditions(s, `actor_id="x" AND status=KEY_STATUS_ACTIVE`, f.condition); err != nil {
		return Filter{}, err
	}
	return f, nil
}

// condition reads the value of one condition and returns what follows.
func (f *Filter) condition(name, operator, value string) (rest string, err error) {
	switch name + operator {
	case "actor_id=":
		return quotedOnce(&f.ActorID, name, value)
	case "status=":
		if f.Status != core.StatusUnknown {
			return "", errors.New("status is in it twice")
		}
		end := strings.IndexByte(value, ' ')
		if end < 0 {
			end = len(value)
		}
		if f.Status = filterStatuses[value[:end]]; f.Status == core.StatusUnknown {
			return "", errors.New("status is KEY_STATUS_ACTIVE, KEY_STATUS_REVOKED or KEY_STATUS_EXPIRED")
		}
		return value[end:], nil
	case "last_used_time<":
		rest, err = timeOnce(&f.UsedBefore, name+operator, value)
		f.UsedBefore = f.UsedBefore.UTC()
		if year := f.UsedBefore.Year(); year < 1 || year > 9999 { // in UTC: RFC 3339 cannot write it
			err = errors.New(name + " is out of range")
		}
		return rest, err
	}
	return "", errNoCondition
}

var errNoCondition = errors.New("there is no such condition")

// parseConditions reads a filter, which is conditions joined by AND, or nothing. condition reads the value of one and
// returns what follows. An error shows an example.
func parseConditions(s, example string, condition func(name, operator, value string) (rest string, err error)) error {
	if len(s) > MaxFilterLength {
		return badRequest("filter: must not be longer than %d bytes", MaxFilterLength)
	}
	rest := strings.Trim(s, " ")
	if rest == "" {
		return nil
	}
	for {
		var err error
		if rest, err = condition(cutCondition(rest)); err == nil {
			if rest == "" {
				return nil
			}
			rest, err = cutAnd(rest)
		}
		if err != nil {
			return badRequest("filter: %s (for example: %s)", err, example)
		}
	}
}

// cutCondition divides a text at its first operator: =, <, <=, > or >=. Without one, the operator is empty.
func cutCondition(s string) (name, operator, value string) {
	at := strings.IndexAny(s, "=<>")
	if at < 0 {
		return s, "", ""
	}
	end := at + 1
	if s[at] != '=' && strings.HasPrefix(s[end:], "=") {
		end++
	}
	return strings.TrimRight(s[:at], " "), s[at:end], strings.TrimLeft(s[end:], " ")
}

// cutAnd reads the AND between two conditions.
func cutAnd(s string) (rest string, err error) {
	after := strings.TrimLeft(s, " ")
	next, ok := strings.CutPrefix(after, "AND ")
	if !ok || len(after) == len(s) {
		return "", errors.New("after a condition comes AND and another one")
	}
	return strings.TrimLeft(next, " "), nil
}

// quotedOnce reads the quoted text of a condition into a place that must be empty yet.
func quotedOnce(into *string, name, value string) (rest string, err error) {
	if *into != "" {
		return "", fmt.Errorf("%s is in it twice", name)
	}
	*into, rest, err = unquote(name, value)
	return rest, err
}

// unquote reads a quoted text that is not empty and returns what follows.
func unquote(name, s string) (text, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", fmt.Errorf(`the text of %s must be in "quotes"`, name)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' && b.Len() == 0:
			return "", "", fmt.Errorf("%s must not be empty", name)
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			_ = b.WriteByte(s[i])
		case c == '\\':
			return "", "", errors.New(`a backslash may only be before a quote or another backslash`)
		default:
			_ = b.WriteByte(c)
		}
	}
	return "", "", errors.New("a closing quote is missing")
}

// String is the filter in the form that [ParseFilter] reads. Filters that mean the same have the same.
func (f *Filter) String() string {
	var terms []string
	if f.ActorID != "" {
		terms = append(terms, `actor_id="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(f.ActorID)+`"`)
	}
	for name, status := range filterStatuses {
		if status == f.Status {
			terms = append(terms, "status="+name)
		}
	}
	if !f.UsedBefore.IsZero() {
		terms = append(terms, `last_used_time<"`+f.UsedBefore.Format(time.RFC3339Nano)+`"`)
	}
	return strings.Join(terms, " AND ")
}
