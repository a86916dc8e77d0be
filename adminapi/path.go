package adminapi

import (
	"net/url"
	"strings"
	"unicode"
)

// adminPrefix begins every path of the private surface.
const adminPrefix = "/v2alpha1/admin"

// maxDecodings is how many times a path is percent-decoded in search of the private surface.
const maxDecodings = 3

// IsAdminPath reports whether some server might take a URL's path for one of the private surface. It reads the path as
// servers do that are more generous than this one: percent-decoded up to three times, in any case, with `\` for `/`,
// without `;parameters`, control characters and dots or spaces at the end of a segment, with dot segments and doubled
// slashes resolved, in each order that is in use. A path that can still be decoded after that is one, too. What it
// finds too much is a path that nobody spells by accident.
func IsAdminPath(u *url.URL) bool {
	if u.RawPath == "" && u.Opaque == "" && IsPlain(u.Path) {
		return hasAdminPrefix(u.Path)
	}
	path := u.EscapedPath()
	return hidesAdminPath(path) || u.RawPath != "" && u.RawPath != path && hidesAdminPath(u.RawPath) ||
		u.Opaque != "" && hidesAdminPath(u.Opaque)
}

// IsPlain reports whether there is only one way to read a path: one slash at the beginning, no two together, no dot at
// the beginning or end of a segment, and nothing but printable ASCII that has no meaning of its own.
func IsPlain(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for i := range len(path) {
		switch c := path[i]; {
		case c <= ' ' || c >= 0x7f || c == '%' || c == '\\' || c == ';':
			return false
		case c == '/' && i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.'):
			return false
		case c == '.' && (i+1 == len(path) || path[i+1] == '/'):
			return false
		}
	}
	return true
}

func hasAdminPrefix(path string) bool {
	return len(path) >= len(adminPrefix) && strings.EqualFold(path[:len(adminPrefix)], adminPrefix)
}

// hidesAdminPath looks at a path after each decoding.
func hidesAdminPath(path string) bool {
	for range maxDecodings {
		if readsAsAdmin(path) {
			return true
		}
		decoded := percentDecode(path)
		if decoded == path {
			return false
		}
		path = decoded
	}
	return readsAsAdmin(path) || percentDecode(path) != path
}

// readsAsAdmin looks at a path in each way to resolve it.
func readsAsAdmin(path string) bool {
	path = foldPath(path)
	for _, parameters := range []bool{false, true} {
		for _, merge := range []bool{false, true} {
			if hasAdminPrefix(resolve(path, parameters, merge)) {
				return true
			}
		}
	}
	return hasAdminPrefix(mergeSlashes(path))
}

// foldPath makes one spelling of letters, and slashes of backslashes, and takes out what some readers pass over.
func foldPath(path string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\\':
			return '/'
		case unicode.IsControl(r):
			return -1
		default:
			return unicode.ToLower(unicode.ToUpper(r))
		}
	}, path)
}

// resolve takes out dot segments (RFC 3986, section 5.2.4) and then empty ones. With merge it takes out the empty ones
// first, so that `..` cannot be spent on them. With parameters it cuts segments at a semicolon.
func resolve(path string, parameters, merge bool) string {
	var out []string
	for segment := range strings.SplitSeq(path, "/") {
		if parameters {
			segment, _, _ = strings.Cut(segment, ";")
		}
		segment = strings.TrimRight(segment, " ")
		switch segment {
		case ".":
		case "..":
			out = out[:max(len(out)-1, 0)]
		case "":
			if !merge {
				out = append(out, "")
			}
		default:
			out = append(out, strings.TrimRight(segment, ". "))
		}
	}
	return mergeSlashes("/" + strings.Join(out, "/"))
}

func mergeSlashes(path string) string {
	var b strings.Builder
	b.Grow(len(path) + 1)
	_ = b.WriteByte('/')
	slash := true
	for i := range len(path) {
		if path[i] != '/' || !slash {
			_ = b.WriteByte(path[i])
		}
		slash = path[i] == '/'
	}
	return b.String()
}

// percentDecode decodes what is well formed, once, and leaves the rest as it is.
func percentDecode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if ok1 && ok2 {
				_ = b.WriteByte(hi<<4 | lo)
				i += 2
				continue
			}
		}
		_ = b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	default:
		return 0, false
	}
}

// IsForwardingHeader reports whether proxies use a header to say for whom they ask, or that they are there. `_` and `.`
// are read as `-`, as some servers do.
func IsForwardingHeader(name string) bool {
	name = strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name))
	_, found := forwardingHeaders[name]
	return found || strings.HasPrefix(name, "x-forwarded")
}

var forwardingHeaders = map[string]struct{}{
	"forwarded": {}, "via": {}, "x-real-ip": {}, "x-client-ip": {}, "x-cluster-client-ip": {}, "x-original-host": {},
	"x-original-forwarded-for": {}, "x-original-url": {}, "x-rewrite-url": {}, "x-proxyuser-ip": {}, "client-ip": {},
	"true-client-ip": {}, "cf-connecting-ip": {}, "fastly-client-ip": {}, "fly-client-ip": {}, "cdn-loop": {},
	"x-envoy-external-address": {}, "x-azure-clientip": {}, "x-appengine-user-ip": {},
}
