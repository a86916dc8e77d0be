package body

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzDuplicates compares what is found with what a decoder of the standard library reads.
func FuzzDuplicates(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1,"a":2}`, `{"a":{"b":[{"c":1},{"c":2}]},"B":"\"}","b":0}`,
		`{"metadata":{"a":[1],"A":-1.5e3},"x":[[],{}]}`,
		`{"a\\":1,"a":2,"\u0061":3}`, ` { "a" : [ ] , "b" : { } } `, `{"a":"\\","b":"\\\"","a":true}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		brackets := bytes.Count(text, []byte("[")) + bytes.Count(text, []byte("{"))
		if !json.Valid(text) || !utf8.Valid(text) || brackets > maxDepth {
			return
		}
		d := json.NewDecoder(bytes.NewReader(text))
		if want, got := repeats(t, d, 0, true), checkDuplicates(text) != nil; got != want {
			t.Fatalf("%s: got %v, want %v", text, got, want)
		}
	})
}

// repeats reports whether a name is repeated in the value that a decoder comes to next.
func repeats(t *testing.T, d *json.Decoder, depth int, fold bool) bool {
	t.Helper()
	token := func() json.Token {
		t.Helper()
		d.UseNumber()
		v, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	open, ok := token().(json.Delim)
	if !ok {
		return false
	}
	seen, found := map[string]bool{}, false
	for d.More() {
		inner := fold
		if open == '{' {
			name, _ := token().(string)
			if fold {
				name = foldCase(name)
			}
			found = found || seen[name]
			seen[name] = true
			inner = fold && (depth > 0 || name != "metadata")
		}
		found = repeats(t, d, depth+1, inner) || found
	}
	token()
	return found
}
