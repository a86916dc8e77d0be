package command

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// importFile imports a file with a report beside it.
func importFile(t *testing.T, endpoint, file, report string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return runTree(t.Context(), "", append([]string{"keys", "imported", "batch-import", "--file", file,
		"--report", report, "-e", endpoint}, args...)...)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// onlyFile requires that a folder holds these files and no others.
func onlyFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("the folder holds %v, want %v", got, names)
	}
}

func TestAnImportsReportNamesWhatFailedAndNoKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, report := filepath.Join(dir, "keys.json"), filepath.Join(dir, "left.jsonl")
	write(t, file, mixed)
	_, stderr, err := importFile(t, (&importServer{}).start(t), file, report)
	if err == nil {
		t.Error("two of the keys failed, and the command succeeded", stderr)
	}
	text := read(t, report)
	golden(t, filepath.Join("keys", "batch_import.report"), text)
	if strings.Contains(text, "bad-1") {
		t.Error("a raw key is in the report")
	}
	if info, err := os.Stat(report); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(err, info)
	}
	onlyFiles(t, dir, "keys.json", "left.jsonl")
}

func TestARunWithAReportDoesOnlyWhatIsLeftAndKeepsOnlyThat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, report := filepath.Join(dir, "keys.json"), filepath.Join(dir, "left.jsonl")
	input := strings.Replace(keysJSON(4000), `"k10"`, `"bad10"`, 1)
	input = strings.Replace(input, `"k1500"`, `"bad1500"`, 1)
	write(t, file, input)
	s := &importServer{down: 3}
	endpoint := s.start(t)
	run := func(wantErr string, calls string) {
		t.Helper()
		s.calls = nil
		_, stderr, err := importFile(t, endpoint, file, report)
		if wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
			t.Errorf("%v, want %q\n%s", err, wantErr, stderr)
		}
		if got := strings.Trim(strings.Join(strings.Fields(sprint(s.calls)), ","), "[]"); got != calls {
			t.Errorf("calls of %s keys, want %s", got, calls)
		}
	}
	wantReport := func(want string) {
		t.Helper()
		var got []string
		for line := range strings.Lines(read(t, report)) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), `,"error_code"`)
			got = append(got, line)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("the report has %s, want %s", text, want)
		}
	}

	run("not now (HTTP 503); the same command with the same --report goes on", "1000,1000,1000")
	wantReport(`{"index":10 {"index":1500 {"input":"keys.json","next":2000}`)

	s.down = 2 // the retry of the two with what follows is one call; the next one fails
	run("the same --report goes on", "1000,1000")
	wantReport(`{"index":10 {"index":1500 {"input":"keys.json","next":2998}`)

	s.down = 0
	run("2 of the keys could not be imported", "1000,4")
	wantReport(`{"index":10 {"index":1500 {"input":"keys.json","keys":4000}`)

	// An interrupted run of what is left keeps what it did not reach.
	s.down = 1
	run("goes on", "2")
	wantReport(`{"index":10 {"index":1500 {"input":"keys.json","keys":4000}`)

	s.down = 0
	write(t, file, strings.Replace(input, `"bad10"`, `"mended10"`, 1))
	run("1 of the keys could not be imported", "2")
	wantReport(`{"index":1500 {"input":"keys.json","keys":4000}`)
	write(t, file, strings.Replace(input, `"bad1500"`, `"mended1500"`, 1))
	run("", "1")
	wantReport(`{"input":"keys.json","keys":4000}`)
	run("", "")
	if len(s.have) != 4000 {
		t.Errorf("%d keys are imported", len(s.have))
	}
	onlyFiles(t, dir, "keys.json", "left.jsonl")
}

func TestAReportKeepsWhatTheRunDidNotReach(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "left.jsonl")
	write(t, file, `{"index":1,"error_code":"X"}`+"\n"+`{"index":2,"error_code":"X"}`+"\n"+
		`{"index":7,"error_code":"X","error_message":"m"}`+"\n"+`{"input":"keys.json","keys":9}`+"\n")
	r, err := openReport(file, "keys.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.add([]client.BatchCreateResult{{Index: 1, ErrorCode: "Y"}, {Index: 2}}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.finish(5, false), r.close()); err != nil {
		t.Fatal(err)
	}
	want := `{"index":1,"error_code":"Y"}` + "\n" + `{"index":7,"error_code":"X","error_message":"m"}` + "\n" +
		`{"input":"keys.json","keys":9}` + "\n"
	if got := read(t, file); got != want {
		t.Errorf("the report is\n%s\nwant\n%s", got, want)
	}
}

func TestAReportOfSomethingElseIsRefusedAndLeft(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ report, want string }{
		"other text":         {"notes\n", "is no report"},
		"empty":              {"", "is no report"},
		"an earlier build's": {`{"index":3,"error_code":"X"}` + "\n", "is no report"},
		"cut off":            {`{"index":3,"error_code":"X"}` + "\n" + `{"inp`, "is no report"},
		"out of order": {
			strings.Repeat(`{"index":3,"error_code":"X"}`+"\n", 2) + `{"input":"keys.json","next":9}`, "is no report",
		},
		"of another input":         {`{"input":"others.json","next":2}`, "of another input"},
		"of an input of more keys": {`{"input":"keys.json","next":5}`, "the input holds 3 keys"},
		"of a whole input of more": {`{"input":"keys.json","keys":5}`, "the input holds 3 keys"},
		"of a whole input of less": {`{"input":"keys.json","keys":2}`, "the input holds 3 keys"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file, report := filepath.Join(dir, "keys.json"), filepath.Join(dir, "left.jsonl")
			write(t, file, keysJSON(3))
			write(t, report, c.report)
			_, _, err := importFile(t, (&importServer{}).start(t), file, report)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if strings.HasPrefix(c.want, "is ") && read(t, report) != c.report {
				t.Error("it was written over")
			}
		})
	}
	if _, err := openReport(t.TempDir(), "keys.json"); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a folder as a report: %v", err)
	}
}
