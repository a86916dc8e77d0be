package engine

import (
	"strings"

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
}

// ParseFilter reads a filter: `actor_id="x"`, `status=KEY_STATUS_ACTIVE` (or …REVOKED, …EXPIRED), each at most once,
// joined by AND. In the quotes, `\"` means a quote and `\\` a backslash. Spaces are allowed around `=`, and
// required around AND. An empty filter is the zero value; anything else is [core.BadRequest].
func ParseFilter(s string) (Filter, error) {
	if len(s) > MaxFilterLength {
		return Filter{}, badRequest("filter: must not be longer than %d bytes", MaxFilterLength)
	}
	var f Filter
	rest := strings.Trim(s, " ")
	if rest == "" {
		return f, nil
	}
	for {
		var err error
		if rest, err = f.term(rest); err != nil {
			return Filter{}, err
		}
		if rest == "" {
			return f, nil
		}
		after := strings.TrimLeft(rest, " ")
		next, ok := strings.CutPrefix(after, "AND ")
		if !ok || len(after) == len(rest) {
			return Filter{}, errFilter("after a condition comes AND and another one")
		}
		rest = strings.TrimLeft(next, " ")
	}
}

// term reads one condition and returns what follows.
func (f *Filter) term(s string) (rest string, err error) {
	name, value, found := strings.Cut(s, "=")
	value = strings.TrimLeft(value, " ")
	switch name = strings.TrimRight(name, " "); {
	case !found:
	case name == "actor_id":
		if f.ActorID != "" {
			return "", errFilter("actor_id is in it twice")
		}
		f.ActorID, rest, err = unquote(value)
		return rest, err
	case name == "status":
		if f.Status != core.StatusUnknown {
			return "", errFilter("status is in it twice")
		}
		end := strings.IndexByte(value, ' ')
		if end < 0 {
			end = len(value)
		}
		if f.Status = filterStatuses[value[:end]]; f.Status == core.StatusUnknown {
			return "", errFilter("status is KEY_STATUS_ACTIVE, KEY_STATUS_REVOKED or KEY_STATUS_EXPIRED")
		}
		return value[end:], nil
	}
	return "", errFilter("there is no such condition")
}

// unquote reads a quoted text that is not empty and returns what follows.
func unquote(s string) (text, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", errFilter(`the text of actor_id must be in "quotes"`)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' && b.Len() == 0:
			return "", "", errFilter("actor_id must not be empty")
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			_ = b.WriteByte(s[i])
		case c == '\\':
			return "", "", errFilter(`a backslash may only be before a quote or another backslash`)
		default:
			_ = b.WriteByte(c)
		}
	}
	return "", "", errFilter("a closing quote is missing")
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
	return strings.Join(terms, " AND ")
}

func errFilter(problem string) error {
	return badRequest(`filter: %s (for example: actor_id="x" AND status=KEY_STATUS_ACTIVE)`, problem)
}
