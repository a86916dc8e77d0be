package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

func batchImportOf(t *testing.T, endpoint, input string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	args = append([]string{"keys", "imported", "batch-import", "--file", "-", "-e", endpoint}, args...)
	return runTree(t.Context(), input, args...)
}

const mixed = `{"source":{"a":[1,{}]},"requests":[{"raw_key":"k1","name":"n","actor_id":"a"},` +
	`{"raw_key":"bad-1","name":"n","actor_id":"a"},{"raw_key":5},` +
	`{"raw_key":"k1","name":"n","actor_id":"a"}],"more":null}`

func TestAnImportOfUpToAThousandKeysPrintsWhatCameOfEach(t *testing.T) {
	t.Parallel()
	for variant, flags := range map[string][]string{
		"table": nil, "quiet": {"-q"}, "json": {"--format", "json"},
		"yaml": {"--format", "yaml"}, "json-pretty": {"--format", "json-pretty"},
	} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, err := batchImportOf(t, (&importServer{}).start(t), mixed, flags...)
			if err == nil {
				t.Error("two of the keys failed, and the command succeeded")
			}
			golden(t, filepath.Join("keys", "batch_import."+variant),
				"standard output:\n"+stdout+"standard error:\n"+stderr)
			if strings.Contains(stdout+stderr, "bad-1") {
				t.Error("a raw key is repeated")
			}
		})
	}
}

func TestAnImportOfOneCallPrintsTheServersAnswerAsItCame(t *testing.T) {
	t.Parallel()
	const answer = `{"results":[{"imported_api_key":{"key_id":"1","news":[1]}}],"success_count":1}`
	endpoint, seen := stub(t, reply{http.StatusOK, answer})
	item := `{"raw_key":"k","name":"n","actor_id":"a","of_tomorrow":[1,2]}`
	stdout, stderr, err := batchImportOf(t, endpoint, "["+item+"]", "--format", "json")
	if err != nil || stdout != answer+"\n" || stderr != "imported 1, already there 0, failed 0\n" {
		t.Errorf("%v: %q, %q", err, stdout, stderr)
	}
	if got := seen.Load().body; got != `{"requests":[`+item+`]}` {
		t.Errorf("the item was changed: %s", got)
	}
}

func TestAnImportOfMoreGoesInChunksAndPrintsFailuresAndCounts(t *testing.T) {
	t.Parallel()
	input := strings.Replace(keysJSON(2500), `"k1700"`, `"bad<1700>"`, 1)
	input = strings.Replace(input, `"k2499"`, `"k3"`, 1)
	for variant, flags := range map[string][]string{
		"table": nil, "quiet": {"-q"}, "json": {"--format", "json"},
		"yaml": {"--format", "yaml"}, "json-pretty": {"--format", "json-pretty"},
	} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			s := &importServer{}
			stdout, stderr, err := batchImportOf(t, s.start(t), input, flags...)
			if err == nil {
				t.Error("a key failed, and the command succeeded")
			}
			golden(t, filepath.Join("keys", "batch_import_large."+variant),
				"standard output:\n"+stdout+"standard error:\n"+stderr)
			if fmt.Sprint(s.calls) != "[1000 1000 500]" {
				t.Errorf("calls of %v items", s.calls)
			}
			if strings.HasPrefix(variant, "json") {
				var out client.BatchCreateResponse
				err := json.Unmarshal([]byte(stdout), &out)
				if err != nil || out.SuccessCount != 2498 || len(out.Results) != 2 {
					t.Errorf("%v: %s", err, stdout)
				}
			}
		})
	}
}

func TestAnImportWithoutFailuresIsWellFormedInEachFormat(t *testing.T) {
	t.Parallel()
	for _, f := range []string{"json", "json-pretty", "yaml"} {
		stdout, stderr, err := batchImportOf(t, (&importServer{}).start(t), keysJSON(1001), "--format", f)
		if err != nil {
			t.Error(err, stderr)
		}
		golden(t, filepath.Join("keys", "batch_import_all_good."+f), stdout)
	}
}

func TestAnImportCanBeRunAgainAndTellsWhatIsThere(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*importServer{"ours": {}, "one that refuses without results": {mute: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := s.start(t)
			for _, want := range []string{
				"imported 30, already there 0, failed 0\n",
				"imported 0, already there 30, failed 0\n",
			} {
				if _, stderr, err := batchImportOf(t, endpoint, keysJSON(30)); err != nil || stderr != want {
					t.Errorf("%v: %q, want %q", err, stderr, want)
				}
			}
		})
	}
}

func TestAKeyThatMakesTheServerRefuseTheCallFailsAlone(t *testing.T) {
	t.Parallel()
	s := &importServer{}
	input := strings.Replace(keysJSON(100),
		`{"raw_key":"k77","name":"n"`, `{"raw_key":"k77-the-raw-key","name":"refuse-the-call"`, 1)
	stdout, stderr, err := batchImportOf(t, s.start(t), input, "--format", "json")
	var out client.BatchCreateResponse
	if err == nil || json.Unmarshal([]byte(stdout), &out) != nil || out.SuccessCount != 99 || len(s.have) != 99 {
		t.Errorf("%v: %s", err, stderr)
	}
	if r := out.Results[77]; r.Index != 77 || r.ErrorCode != client.BatchCreateErrorInvalidArgument ||
		strings.Contains(stdout, "k77-the-raw-key") {
		t.Errorf("%+v", r)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnImportThatStopsSaysHowToGoOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server *importServer
		input  string
		args   []string
		want   string // part of the error
		have   int    // keys that are imported
	}{
		"the server is away": {
			&importServer{down: 3}, keysJSON(2500), nil, "not now (HTTP 503); go on with --skip 2000", 2000,
		},
		"the quota is full": {
			&importServer{quota: 1500}, keysJSON(4000), nil, "quota of keys is full; go on with --skip 2000", 1500,
		},
		"not JSON": {
			&importServer{}, keysJSON(1200) + "]", nil, "after the last key: is not well-formed JSON", 1200,
		},
		"broken": {
			&importServer{}, `[{"raw_key":"k1"},{"raw_key":"k2"},{"raw_key" "k3"}]`, nil,
			"key 2: is not well-formed JSON, after byte 35; go on with --skip 2", 2,
		},
		"cut off": {
			&importServer{}, `[{"raw_key":"k1"},{"raw_`, nil,
			"key 1: ends too early, after byte 18; go on with --skip 1", 1,
		},
		"cut off after one": {
			&importServer{}, `[{"raw_key":"k1"}`, nil,
			"after the last key: ends too early, after byte 17; go on with --skip 1", 1,
		},
		"skipped too many": {&importServer{}, keysJSON(3), []string{"--skip", "4"}, "the input holds 3 keys", 0},
		"a report and a place": {
			&importServer{}, keysJSON(3), []string{"--skip", "1", "--report", "x"}, "--skip does not go with", 0,
		},
		"two arrays": {
			&importServer{}, `{"requests":[{"raw_key":"k1"}],"requests":[]}`, nil, `has "requests" twice`, 1,
		},
		"no keys":  {&importServer{}, `{"requests":[]}`, nil, "no keys", 0},
		"not keys": {&importServer{}, `{"keys":[]}`, nil, "neither a JSON array", 0},
		"nothing":  {&importServer{}, ``, nil, "the input: ends too early", 0},
		"endless": {
			&importServer{}, `[{"raw_key":"k1"},{"name":"` + strings.Repeat("x", 2<<20) + `"}]`, nil,
			"key 1: is longer than", 1,
		},
		"endless before": {
			&importServer{}, `{"x":"` + strings.Repeat("x", 2<<20) + `"}]`, nil, "the input: is longer than", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := c.server.start(t)
			_, _, err := batchImportOf(t, endpoint, c.input, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(c.server.have) != c.have {
				t.Errorf("%v, want %q; %d keys are imported, want %d", err, c.want, len(c.server.have), c.have)
			}
		})
	}
}

func TestItemsOfMoreBytesThanACallTakesAreSpreadOverCalls(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 10 {
		fmt.Fprintf(&b, `,{"raw_key":"k%d","metadata":{"x":"%s"}}`, i, strings.Repeat("<", 900<<10))
	}
	s := &importServer{}
	stdout, stderr, err := batchImportOf(t, s.start(t), "["+b.String()[1:]+"]", "-q")
	if err != nil || stdout != "10\n" || fmt.Sprint(s.calls) != "[2 2 2 2 2]" {
		t.Errorf("%v: %s%s calls of %v", err, stdout, stderr, s.calls)
	}
}

func TestAnInterruptedImportEndsAfterTheCallUnderWay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := &importServer{}
	s.before = func() {
		if len(s.calls) == 2 {
			cancel()
		}
	}
	endpoint := s.start(t)
	stdout, _, err := runTree(ctx, keysJSON(5000),
		"keys", "imported", "batch-import", "--file", "-", "-e", endpoint, "-q")
	if err == nil || err.Error() != "interrupted; go on with --skip 2000" || stdout != "2000\n" || len(s.have) != 2000 {
		t.Errorf("%v; %q; %d keys are imported", err, stdout, len(s.have))
	}
}

func TestAnInterruptReachesAnImportThatWaitsForItsInput(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := &importServer{before: cancel}
	in, w := io.Pipe()
	defer func() { _ = w.Close() }() // ends the reader
	first, rest, _ := strings.Cut(keysJSON(1000)+"\n", "]")
	go func() { _, _ = io.WriteString(w, first+","+rest) }() // a whole chunk, and then nothing
	var out bytes.Buffer
	root := tree()
	root.SetIn(in)
	root.SetOut(&out)
	root.SetErr(io.Discard)
	root.SetArgs([]string{"keys", "imported", "batch-import", "--file", "-", "-e", s.start(t)})
	if err := root.ExecuteContext(ctx); err == nil || err.Error() != "interrupted; go on with --skip 1000" {
		t.Error(err)
	}
}

// endless is an array of many items of a size, made as it is read.
func endless(items, size int) io.Reader {
	r, w := io.Pipe()
	go func() {
		b := bufio.NewWriter(w)
		_, _ = b.WriteString("[")
		for i := range items {
			if i > 0 {
				_ = b.WriteByte(',')
			}
			_, _ = fmt.Fprintf(b, `{"raw_key":"k%d","name":"%s"}`, i, strings.Repeat("x", size))
		}
		_, _ = b.WriteString("]")
		_ = w.CloseWithError(b.Flush())
	}()
	return r
}

func TestReadingAnInputHoldsOneChunkHoweverManyKeysThereAre(t *testing.T) {
	t.Parallel()
	r := chunker{in: newItemReader(endless(20_000, 200)), from: &startingPoint{keys: -1}}
	for read := 0; ; {
		c := r.next(t.Context())
		if len(c.items) > 0 && c.items[0].place != read || len(c.items) > maxChunk || c.end != read+len(c.items) {
			t.Fatalf("a chunk of %d up to %d, after %d", len(c.items), c.end, read)
		}
		read = c.end
		if errors.Is(c.err, io.EOF) {
			if read != 20_000 {
				t.Errorf("read %d items", read)
			}
			return
		}
		if c.err != nil {
			t.Fatal(c.err)
		}
	}
}

func FuzzAnImportsInputIsReadAsEncodingJSONReadsIt(f *testing.F) {
	for _, seed := range []string{
		mixed, keysJSON(3), `[]`, `{"requests":[1,"x",null]}`, `[{}`, `{"a":{"requests":[]},"requests":[{}]}`,
		`[{}]x`, `{"requests":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var got []json.RawMessage
		r := newItemReader(bytes.NewReader(input))
		var err error
		for err == nil {
			var item importItem
			if item, err = r.next(); err == nil {
				got = append(got, item.body)
			}
		}
		if !errors.Is(err, io.EOF) {
			return
		}
		var want []json.RawMessage
		if json.Unmarshal(input, &want) != nil {
			var object map[string]json.RawMessage // names are compared as they stand
			if json.Unmarshal(input, &object) != nil || json.Unmarshal(object["requests"], &want) != nil {
				t.Fatalf("%q was read, and is no input", input)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %d items, want %d", input, len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%q: item %d is %q, want %q", input, i, got[i], want[i])
			}
		}
	})
}
