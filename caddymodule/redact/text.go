package redact

import (
	"slices"
	"strconv"
	"strings"

	"github.com/talos-edge/talos-edge/adminapi/httpcred/headername"
)

// redactedText replaces a credential in logs, as Caddy writes it.
const redactedText = "REDACTED"

// Redactor replaces credentials in the fields of log entries. It is immutable.
type Redactor struct {
	headers []string // canonical
	queries []string // decoded
	cookies []string // and those of the parameters, for a cookie may hold a URL
}

// isHeader says whether a field has the name of a header that is a source, in any spelling that a backend might fold to
// it, or of the CGI variable that such a header becomes.
func (r *Redactor) isHeader(key string) bool {
	for _, name := range r.headers {
		if isSpelling(key, name) {
			return true
		}
	}
	return false
}

// isSpelling says whether a field has the name of a header or of its CGI variable.
func isSpelling(key, name string) bool {
	const cgi = "HTTP_"
	switch len(key) {
	case len(name):
		return headername.FoldedPrefix(key, name)
	case len(name) + len(cgi):
		return headername.FoldedPrefix(key, cgi) && headername.FoldedPrefix(key[len(cgi):], name)
	default:
		return false
	}
}

// Text redacts the text of a field.
func (r *Redactor) Text(key, value string) string {
	if r.isHeader(key) {
		return redactedText
	}
	return r.pairs(key, value)
}

// list redacts the texts of a field that is not a header which is a source. It returns nil if nothing changes.
func (r *Redactor) list(key string, values []string) []string {
	var changed []string
	for i, value := range values {
		redacted := r.pairs(key, value)
		if redacted == value {
			continue
		}
		if changed == nil {
			changed = slices.Clone(values)
		}
		changed[i] = redacted
	}
	return changed
}

// pairs redacts the parameters or cookies in the text of a field.
func (r *Redactor) pairs(key, value string) string {
	switch {
	case strings.IndexByte(value, '=') < 0 && strings.IndexByte(value, '%') < 0:
		return value // nothing in it has a name; most texts end here
	case len(r.cookies) > 0 && (isSpelling(key, "Cookie") || isSpelling(key, "Set-Cookie")):
		return redactPairs(value, r.cookies, ';')
	case len(r.queries) > 0:
		return redactPairs(value, r.queries, '&')
	default:
		return value
	}
}

// redactPairs replaces the value in each pair `name=value` of a text, which ends at the separator or with the text. A
// name is found in any case and behind anything that cannot belong to a longer name. Percent-encoding is undone where
// it is found, however often it was applied: in a URL that is a parameter of another one, names and separators are
// encoded, and a value ends at a separator that is not encoded more often than its equals sign.
//
// It would rather redact too much: the rest of a sentence after a URL is lost. It takes time linear in the text.
func redactPairs(text string, names []string, separator byte) string {
	var (
		space  [256]byte
		before = space[:0] // what was read since the last value
		b      strings.Builder
		done   int // the text up to here is written
	)
	for i := 0; i < len(text); {
		plain := i
		for i < len(text) && text[i] != '=' && text[i] != '%' {
			i++
		}
		before = append(before, text[plain:i]...)
		if i == len(text) {
			break
		}
		c, size, depth := decodeByte(text[i:])
		i += size
		if c != '=' || !endsInName(before, names) {
			before = append(before, c)
			continue
		}
		if b.Len() == 0 {
			b.Grow(len(text) + len(redactedText))
		}
		b.WriteString(text[done:i])
		b.WriteString(redactedText)
		done = valueEnd(text, i, separator, depth)
		i, before = done, before[:0]
	}
	if b.Len() == 0 {
		return text
	}
	b.WriteString(text[done:])
	return b.String()
}

// valueEnd is where a value ends that begins at start and whose equals sign was encoded depth times.
func valueEnd(text string, start int, separator byte, depth int) int {
	for i := start; i < len(text); {
		c, size, d := decodeByte(text[i:])
		if c == separator && d <= depth {
			return i
		}
		i += size
	}
	return len(text)
}

// decodeByte reads the first byte of a text, which was percent-encoded depth times and takes up size bytes.
func decodeByte(text string) (c byte, size, depth int) {
	c, size = text[0], 1
	for c == '%' && len(text) >= size+2 {
		value, err := strconv.ParseUint(text[size:size+2], 16, 8)
		if err != nil {
			break
		}
		c, size, depth = byte(value), size+2, depth+1
	}
	return c, size, depth
}

// decoded is a text of which no byte is percent-encoded. Names are compared in this form.
func decoded(text string) string {
	var b strings.Builder
	for text != "" {
		c, size, _ := decodeByte(text)
		b.WriteByte(c)
		text = text[size:]
	}
	return b.String()
}

// endsInName says whether a text ends in one of the names, with or without white space behind it.
func endsInName(text []byte, names []string) bool {
	trimmed := len(text)
	for trimmed > 0 && strings.IndexByte(" \t\r\n+", text[trimmed-1]) >= 0 {
		trimmed--
	}
	for _, name := range names {
		if hasName(text, name) || trimmed < len(text) && hasName(text[:trimmed], name) {
			return true
		}
	}
	return false
}

// hasName says whether a text ends in a name that is not the end of a longer one.
func hasName(text []byte, name string) bool {
	at := len(text) - len(name)
	if at < 0 {
		return false
	}
	for i := len(name) - 1; i >= 0; i-- {
		if foldedByte(text[at+i]) != foldedByte(name[i]) {
			return false
		}
	}
	if at == 0 {
		return true
	}
	c := text[at-1]
	return !headername.IsAlphanumeric(c) && c != '_' && c != '-' && c != '.' && c < 0x80
}

// foldedByte ignores case and reads a plus sign as a space, as queries do.
func foldedByte(c byte) byte {
	if c == '+' {
		return ' '
	}
	return headername.Lower(c)
}
