package core

// ValidScope tells whether s is a scope token of RFC 6749, section 3.3: one or more printable ASCII characters without
// space, `"` and `\`.
func ValidScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
