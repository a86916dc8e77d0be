package headername

// FoldedPrefix says whether a name begins with a prefix in the eyes of a backend that folds case and takes any
// character but letters and digits for any other, as CGI, WSGI and PHP do in part.
func FoldedPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		a, b := name[i], prefix[i]
		if a != b && Lower(a) != Lower(b) && (IsAlphanumeric(a) || IsAlphanumeric(b)) {
			return false
		}
	}
	return true
}

// IsPlain says whether a name has no character that a backend might take for another.
func IsPlain(name string) bool {
	for i := range len(name) {
		if !IsAlphanumeric(name[i]) {
			return false
		}
	}
	return true
}

// IsAlphanumeric tells an ASCII letter or digit.
func IsAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// Lower is the lower case of an ASCII letter, and any other byte itself.
func Lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
