package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// readKeys reads an input to its end: the bodies of the keys, and what is wrong with those that have none.
func readKeys(t *testing.T, input, form string) (bodies []string, err error) {
	t.Helper()
	r, err := newKeyReader(strings.NewReader(input), form)
	if err != nil {
		return nil, err
	}
	for {
		item, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return bodies, nil
		case err != nil:
			return bodies, err
		case item.place != len(bodies):
			t.Fatalf("key %d is said to be at %d", len(bodies), item.place)
		case item.problem != "":
			bodies = append(bodies, "! "+item.problem)
		default:
			var compact bytes.Buffer
			if err := json.Compact(&compact, item.body); err != nil {
				t.Fatal(err)
			}
			bodies = append(bodies, compact.String())
		}
	}
}

func TestAnInputIsRecognisedByItsContent(t *testing.T) {
	t.Parallel()
	const key = `{"raw_key":"k","name":"n","actor_id":"a"}`
	for name, input := range map[string]string{
		"an array":                        "[" + key + "]",
		"an array after white space":      "\r\n [\n" + key + "\n]\n",
		"an object":                       `{"requests":[` + key + `]}`,
		"an object with more":             `{"from":{"raw_key":1},` + "\n" + `"requests":[` + key + `],"x":1}`,
		"a line":                          key,
		"lines":                           key + "\n\n  \r\n",
		"CSV":                             "raw_key,name,actor_id\nk,n,a\n",
		"CSV of a spreadsheet":            "\ufeffName, RAW_KEY ,actor_id\r\nn,k,a\r\n",
		"CSV with quotes":                 `"raw_key","name","actor_id"` + "\n" + `"k","n","a"`,
		"an array with a byte order mark": "\ufeff[" + key + "]",
	} {
		got, err := readKeys(t, input, "")
		if err != nil || strings.Join(got, "\n") != key {
			t.Errorf("%s: %v, %q", name, err, got)
		}
	}
}

func TestEachColumnOfCSVIsAFieldOfTheKey(t *testing.T) {
	t.Parallel()
	head := strings.Join(csvNames, ",") + "\n"
	for row, want := range map[string]string{
		`k,n,a,"b,c d",90d,"{""x"": 1}",public,10.0.0.0/8 ::1/128,100,1h,r1`: `{"raw_key":"k","name":"n",` +
			`"actor_id":"a","scopes":["b","c","d"],"ttl":"90d","metadata":{"x":1},` +
			`"visibility":"KEY_VISIBILITY_PUBLIC",` +
			`"ip_restriction":{"allowed_cidrs":["10.0.0.0/8","::1/128"]},` +
			`"rate_limit_policy":{"quota":"100","window":"1h"},"request_id":"r1"}`,
		`" k ",n,a,,,,,,,,`: `{"raw_key":" k ","name":"n","actor_id":"a"}`,
		`k,n,a,,,,,,5,,`: `{"raw_key":"k","name":"n","actor_id":"a",` +
			`"rate_limit_policy":{"quota":"5","window":"60s"}}`,
		`k,n,a,,,,,,,1h,`:   "! rate_limit_window: goes with rate_limit_quota",
		`k,n,a,,,,,,many,,`: "! rate_limit_quota: must be a whole number from 1",
		`k,n,a,,,[1],,,,,`:  "! metadata: must be a JSON object",
		`k,n,a,b*,,,,,,,`: "! scopes: number 1 has * in the wrong place: it is a scope by itself, " +
			"or the end of one after a colon, as in orders:*",
		`k,n,a,,,,all,,,,`: "! visibility: must be one of secret, public",
		`k,n`:              "! has 2 fields, and the first line has 11",
	} {
		got, err := readKeys(t, head+row+"\n"+`last,n,a,,,,,,,,`, "")
		if err != nil || len(got) != 2 || got[0] != want {
			t.Errorf("%s:\n%v, %q\nwant %q", row, err, got, want)
		}
	}
}

func TestAnInputThatCannotBeReadIsExplainedWithoutRepeatingIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ input, form, want string }{
		"no names of columns":  {testSecret + ",n,a\n", "", "column 1 of the first line is none of raw_key, name"},
		"no column for keys":   {"name,actor_id\nn,a\n", "", "names no column raw_key"},
		"a column twice":       {"raw_key,name,name\n", "", "column 3"},
		"a quote left open":    {"raw_key\n\"" + testSecret + "\nx\n", "", "not well-formed CSV"},
		"a quote in a field":   {"raw_key\n" + testSecret + "\"x\n", "", "not well-formed CSV, in line 2"},
		"a word":               {testSecret, "", "see --input-format"},
		"another object":       {`{"keys":[]}`, "", "see --input-format"},
		"lines read as JSON":   {`{"raw_key":"` + testSecret + `"}`, formJSON, "see --input-format"},
		"an endless CSV field": {"raw_key\n\"" + strings.Repeat("x", 2<<20), "", "longer than"},
		"an endless line":      {`{"raw_key":"x"}` + "\n" + strings.Repeat("x", 2<<20), "", "longer than"},
		"an empty CSV":         {"", formCSV, "no keys"},
		"nothing":              {"", "", "ends too early"},
	} {
		_, err := readKeys(t, c.input, c.form)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	got, err := readKeys(t, `{"raw_key":"a"}`+"\n{"+testSecret+"\n"+`{"raw_key":"b"}`, formLines)
	if want := "{\"raw_key\":\"a\"}\n! is not well-formed JSON\n{\"raw_key\":\"b\"}"; err != nil ||
		strings.Join(got, "\n") != want {
		t.Errorf("a line that is no JSON does not fail alone: %v, %q", err, got)
	}
}
