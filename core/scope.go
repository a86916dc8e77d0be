package core

import "strings"

// ValidScope reports whether s is a scope token of RFC 6749, section 3.3: one or more printable ASCII characters
// without space, `"` and `\`.
func ValidScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// Covers reports whether a scope that a key holds grants one that a route asks for. `*` grants every scope; one that
// ends in `:*` grants what begins with the part before the star; any other grants itself. The asked one is literal, and
// an empty one is never granted.
func Covers(held, asked string) bool {
	if asked == "" {
		return false
	}
	if held == asked || held == "*" {
		return true
	}
	return isPattern(held) && strings.HasPrefix(asked, held[:len(held)-1])
}

// isPattern reports whether a held scope can cover others than itself.
func isPattern(scope string) bool { return scope == "*" || strings.HasSuffix(scope, ":*") }

// IntersectScopes returns what both of two lists of held scopes grant, in the order of the first, each once.
func IntersectScopes(held, to []string) []string {
	var patterns []string
	literal := make(map[string]bool, len(to))
	for _, s := range to {
		literal[s] = true
		if isPattern(s) {
			patterns = append(patterns, s)
		}
	}
	var both []string
	seen := map[string]bool{}
	keep := func(s string) {
		if !seen[s] {
			seen[s] = true
			both = append(both, s)
		}
	}
	for _, s := range held {
		covered := literal[s]
		for i := 0; i < len(patterns) && !covered; i++ {
			covered = Covers(patterns[i], s)
		}
		switch {
		case covered:
			keep(s)
		case isPattern(s):
			for _, narrower := range to {
				if Covers(s, narrower) {
					keep(narrower)
				}
			}
		}
	}
	return both
}
