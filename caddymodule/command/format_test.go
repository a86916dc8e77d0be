package command

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"gopkg.in/yaml.v3"
)

const answer = `{"z":1,"a":{"n":9007199254740993,"f":1e3,"s":"yes","t":"2026-01-02T03:04:05Z","d":"123","e":""},` +
	`"list":[true,null,"x: y",[],{}],"multi":"one\ntwo"}`

func TestAnswersArePrintedAsTheyCameIndentedOrAsYAML(t *testing.T) {
	t.Parallel()
	for f, want := range map[format]string{
		formatJSON: answer + "\n",
		formatPretty: `{
  "z": 1,
  "a": {
    "n": 9007199254740993,
    "f": 1e3,
    "s": "yes",
    "t": "2026-01-02T03:04:05Z",
    "d": "123",
    "e": ""
  },
  "list": [
    true,
    null,
    "x: y",
    [],
    {}
  ],
  "multi": "one\ntwo"
}
`,
		formatYAML: `z: 1
a:
  "n": 9007199254740993
  f: 1e3
  s: "yes"
  t: "2026-01-02T03:04:05Z"
  d: "123"
  e: ""
list:
  - true
  - null
  - "x: y"
  - []
  - {}
multi: "one\ntwo"
`,
	} {
		var b bytes.Buffer
		if err := printAnswer(&b, f, json.RawMessage(answer)); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("%s:\n%s\nwant:\n%s", f, b.String(), want)
		}
	}
}

func TestAnAnswerThatIsNoJSONIsAnError(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{`{"a":`, `{} {}`, ``, `<html>`} {
		for _, f := range []format{formatYAML} {
			if err := printAnswer(&bytes.Buffer{}, f, json.RawMessage(bad)); err == nil {
				t.Errorf("%s of %q was printed", f, bad)
			}
		}
	}
}

func FuzzYAMLSaysTheSameAsTheJSON(f *testing.F) {
	for _, seed := range []string{
		answer, `"on"`, `"0x1F"`, `"~"`, `[[[{"a":[]}]]]`, `-0.5e-3`, `{"<<":{"a":1}}`,
		`"\u0000\u2028"`, `1e20`, `"# x"`,
		`{"":"- a"}`, `"!!binary x"`, `"\r\n "`, `"\ufeff"`, `" a\n b"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var want any
		if json.Unmarshal(value, &want) != nil {
			return
		}
		value, err := json.Marshal(want) // without duplicate names, which YAML does not have
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := writeYAML(&b, value); err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		var read any
		if err := yaml.Unmarshal(b.Bytes(), &read); err != nil {
			t.Fatalf("%q became\n%s\nwhich is no YAML: %v", value, b.String(), err)
		}
		again, err := json.Marshal(read)
		if err != nil {
			t.Fatalf("%q became\n%s\nwhich is no JSON: %v", value, b.String(), err)
		}
		var got any
		if err := json.Unmarshal(again, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q became\n%s\nwhich reads %q", value, b.String(), again)
		}
	})
}

func TestTextOfOthersDoesNotReachTheTerminalAsControlCharacters(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain text":         "plain text",
		"Zoë 東京":             "Zoë 東京",
		"a\x1b[2Jb":          `a\u001b[2Jb`,
		"two\nlines\tand":    `two\u000alines\u0009and`,
		"right\u202eto left": `right\u202eto left`,
		"bad\xffutf8":        `bad\ufffdutf8`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}
