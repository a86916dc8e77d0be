package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

var (
	errObject    = errors.New("is not a JSON object")
	errDuplicate = errors.New("has a member twice")
)

// ParseObject reads a JSON object into its members. One that has a member twice is refused: readers differ on which of
// the two counts (RFC 8259, section 4), and what one of them checks another would not see.
func ParseObject(data []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) {
		return nil, errObject
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errObject
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errObject
		}
		if _, twice := members[name]; twice {
			return nil, errDuplicate
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return nil, errObject
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errObject
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errObject
	}
	return members, nil
}
