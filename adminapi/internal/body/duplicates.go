package body

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/talos-edge/talos-edge/core"
)

// maxDepth is how deep arrays and objects in a body may be nested.
const maxDepth = 1000

// maxShownName is the length of the longest field name that an error repeats, in bytes.
const maxShownName = 64

// checkDuplicates refuses a JSON text, which is known to be well formed, in which an object has a duplicate name.
// Readers differ on which of the two counts, so one check could see one value and the next another. Of the API's
// objects, names that differ only in case are the same, because they mean the same field. Metadata and custom claims
// are their owner's own: there they are two.
func checkDuplicates(text []byte) error {
	c := duplicateChecker{rest: text}
	return c.value(0, true)
}

// duplicateChecker goes through a text once; rest is what is left of it.
type duplicateChecker struct{ rest []byte }

// value passes over one value. fold reports whether names in it are compared without regard to case.
func (c *duplicateChecker) value(depth int, fold bool) error {
	if depth > maxDepth {
		return core.NewError(core.BadRequest, "the request body is nested deeper than "+
			strconv.Itoa(maxDepth)+" arrays and objects")
	}
	switch c.peek() {
	case '{':
		return c.object(depth, fold)
	case '[':
		return c.array(depth, fold)
	case '"':
		_ = c.text()
	default: // a number, true, false or null
		if end := bytes.IndexAny(c.rest, ",]} \t\r\n"); end >= 0 {
			c.rest = c.rest[end:]
		} else {
			c.rest = nil
		}
	}
	return nil
}

func (c *duplicateChecker) object(depth int, fold bool) error {
	c.rest = c.rest[1:] // the bracket
	var first string    // spares small objects the map
	var others map[string]struct{}
	for count := 0; c.next('}'); count++ {
		name := c.name()
		same := name
		if fold {
			same = foldCase(name)
		}
		_, repeated := others[same]
		switch {
		case count == 0:
			first = same
		case repeated || same == first:
			return errRepeated(name)
		default:
			if others == nil {
				others = make(map[string]struct{}, 8)
			}
			others[same] = struct{}{}
		}
		if c.peek() == ':' {
			c.rest = c.rest[1:]
		}
		if err := c.value(depth+1, fold && same != "metadata" && same != "custom_claims"); err != nil {
			return err
		}
	}
	return nil
}

func (c *duplicateChecker) array(depth int, fold bool) error {
	c.rest = c.rest[1:] // the bracket
	for c.next(']') {
		if err := c.value(depth+1, fold); err != nil {
			return err
		}
	}
	return nil
}

// next goes to the next member of an array or object, and past its end when there is none.
func (c *duplicateChecker) next(end byte) bool {
	switch c.peek() {
	case 0:
		return false
	case end:
		c.rest = c.rest[1:]
		return false
	case ',':
		c.rest = c.rest[1:]
	}
	return true
}

// peek passes over white space and returns the byte after it; 0 at the end.
func (c *duplicateChecker) peek() byte {
	c.rest = bytes.TrimLeft(c.rest, " \t\r\n")
	if len(c.rest) == 0 {
		return 0
	}
	return c.rest[0]
}

// name takes the name of an object's member.
func (c *duplicateChecker) name() string {
	if c.peek() != '"' {
		c.rest = nil
		return ""
	}
	text := c.text()
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text[1 : len(text)-1])
	}
	var name string
	if json.Unmarshal(text, &name) != nil {
		c.rest = nil
	}
	return name
}

// text takes a string with its quotes.
func (c *duplicateChecker) text() []byte {
	for i := 1; i < len(c.rest); i++ {
		switch c.rest[i] {
		case '\\':
			i++
		case '"':
			text := c.rest[:i+1]
			c.rest = c.rest[i+1:]
			return text
		}
	}
	c.rest = nil
	return []byte(`""`)
}

// foldCase makes one text of all that encoding/json takes for the same field name.
func foldCase(s string) string { return strings.ToLower(strings.ToUpper(s)) }

func errRepeated(name string) error {
	if len(name) > maxShownName {
		return core.NewError(core.BadRequest, "the request body has a duplicate field; give each once")
	}
	return core.NewError(core.BadRequest, "the request body has the field "+strconv.Quote(name)+
		" more than once; give it once")
}
