package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	api "github.com/talos-edge/talos-edge/adminapi/client"
)

func TestFlagsOfARunWithEdgesRefuseNonsense(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"-edges 0", "-edges -1", "-edges 201", "-edges many", "-edges 3 -sidecar", "-edges 3 -rounds 5",
		"-edges 3 -conns 64", "-edges 3 -only bare", "-edges 3 -only burst", "-edges 3 -only cost,",
		"-edges 3 argument",
		"-edges 3 -revocations 0", "-edges 3 -revocations 1001", "-edges 3 -changes 2000", "-edges 3 -changes 3001",
		"-edges 3 -changes 1001000", "-edges 3 -readers 0", "-edges 3 -readers 10001",
		"-revocations 5", "-changes 3000", "-readers 5", "-before f",
	} {
		if o, err := parseOptions(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s: accepted as %+v", args, o)
		}
	}
	args := strings.Fields("-edges 3 -only cost,readers -json -binary f -before g -changes 3000")
	o, err := parseOptions(args, io.Discard)
	if err != nil || o.feed.edges != 3 || o.feed.before != "g" || o.feed.changes != 3000 {
		t.Errorf("%+v, %v", o, err)
	}
	if o.length() > time.Hour {
		t.Errorf("a run with edges may take %s", o.length())
	}
}

func TestDurationsAreDescribedByTheirQuantiles(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	for i := range 101 {
		all = append(all, time.Duration(100-i)*time.Millisecond)
	}
	want := distribution{N: 101, P50: 50, P90: 90, P99: 99, Max: 100}
	if got := distributionOf(all); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := distributionOf(nil); got != (distribution{}) {
		t.Errorf("%+v of nothing", got)
	}
}

// node is a proxy whose admin API is a stand-in.
func nodeBehind(t *testing.T, h http.Handler) *proxy {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	return &proxy{process: &process{name: "node", log: &tail{}}, addr: addr, api: addr}
}

func TestTheConfirmationsOfAChangeAreRead(t *testing.T) {
	t.Parallel()
	node := nodeBehind(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2alpha1/admin/issuedApiKeys/good:revoke" || r.FormValue("wait") != "5s" {
			return // without the headers of a confirmation
		}
		w.Header().Set(api.ConfirmedHeader, "7")
		w.Header().Set(api.UnconfirmedHeader, "2")
	}))
	made, err := node.revoke(t.Context(), "good", 5*time.Second)
	if err != nil || made.confirmed != 7 || made.unconfirmed != 2 || made.took <= 0 || made.answered.IsZero() {
		t.Errorf("%+v, %v", made, err)
	}
	if made, err := node.revoke(t.Context(), "other", 5*time.Second); err == nil {
		t.Errorf("an answer that confirms nothing is read as %+v", made)
	}
	if _, err := node.revoke(t.Context(), "other", 0); err != nil {
		t.Errorf("without wait: %v", err)
	}
}

func TestEdgesAreAwaitedUntilNoneIsBehind(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	node := nodeBehind(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := asked.Add(1)
		state := api.EdgesResponse{Position: 5, Edges: []api.EdgeState{{EdgeID: "a", Position: 5}}}
		if n > 1 {
			state.Edges = append(state.Edges, api.EdgeState{EdgeID: "b", Position: 4, Lag: 1})
		}
		if n > 2 {
			state.Edges[1].Position, state.Edges[1].Lag = 5, 0
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(state)
	}))
	if err := node.awaitEdges(t.Context(), 2); err != nil || asked.Load() != 3 {
		t.Errorf("after %d questions: %v", asked.Load(), err)
	}
	asked.Store(0)
	if err := node.awaitEdge(t.Context(), "b", 5); err != nil || asked.Load() != 3 {
		t.Errorf("after %d questions: %v", asked.Load(), err)
	}
	if position, err := node.position(t.Context()); err != nil || position != 5 {
		t.Errorf("position %d, %v", position, err)
	}
}

func TestARefusalIsTimedFromAMomentOnEachEdge(t *testing.T) {
	t.Parallel()
	const edges = 3
	var asked [edges]atomic.Int64
	var all []*proxy
	var probes []*client
	for i := range edges {
		all = append(all, nodeBehind(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if asked[i].Add(1) > int64(i) { // the first edge refuses at once
				w.WriteHeader(http.StatusUnauthorized)
			}
		})))
		probes = append(probes, &client{addr: all[i].addr})
		t.Cleanup(probes[i].close)
	}
	from := time.Now()
	times, admitted, err := untilRefused(all, probes, "revoked", from)
	if err != nil || len(times) != edges || slices.Min(times) <= 0 || slices.Max(times) > time.Since(from) {
		t.Errorf("%v, %v", times, err)
	}
	for i, at := range admitted {
		if i == 0 && at != 0 || i > 0 && (at <= 0 || at >= times[i]) {
			t.Errorf("edge %d admitted a request at %s and refused one at %s", i, at, times[i])
		}
	}
	for i := range edges {
		if n := asked[i].Load(); n != int64(i)+1 {
			t.Errorf("edge %d was asked %d times, want %d", i, n, i+1)
		}
	}
	sum := askAfter(probes, "revoked")
	if want := (answers{Refused: probesAfter * edges}); sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
}

func TestALoadGoesToEachEdgeUntilItEnds(t *testing.T) {
	t.Parallel()
	var hot, all atomic.Uint64
	enough := make(chan struct{})
	edge := nodeBehind(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer hot" {
			hot.Add(1)
		}
		if all.Add(1) == 8 {
			close(enough)
		}
	}))
	l := startLoad(t.Context(), []*proxy{edge, edge}, []string{"hot", "other"}, time.Millisecond)
	<-enough
	sum := l.end()
	if want := (answers{Good: all.Load()}); sum != want || hot.Load() < want.Good/2 || hot.Load() == want.Good {
		t.Errorf("%+v, of them %d with the hot key, want %+v", sum, hot.Load(), want)
	}
}

func TestASlotWithAPaceSendsNoFaster(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	const pace = 10 * time.Millisecond
	did := jobsOn(t,
		job{Op: opTarget, Target: "t", Addr: server.Listener.Addr().String(), Credentials: []string{"good"}},
		job{Op: opRun, Target: "t", Conns: 1, Slot: 5 * pace, Pace: pace},
	)[1]
	if did.Failures > 0 || did.Window > uint64(did.Took/pace)+1 {
		t.Errorf("%d requests in %s: %s", did.Window, did.Took, did.First)
	}
}

func TestAFilterKeepsTheFeedBack(t *testing.T) {
	t.Parallel()
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Method+" "+r.URL.String()+r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(behind.Close)
	for _, noFeed := range []bool{true, false} {
		j := filterJob{To: behind.Listener.Addr().String(), NoFeed: noFeed}
		for path, want := range map[string]bool{
			eventsPath + "?after=3": !noFeed, "/v2alpha1/admin/apiKeys:batchVerify": true,
		} {
			w := httptest.NewRecorder()
			j.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://filter"+path, http.NoBody))
			if passed := w.Code == http.StatusOK && w.Body.String() == "GET "+path; passed != want {
				t.Errorf("without feed %v: %s is answered with %d %s", noFeed, path, w.Code, w.Body)
			}
			if !want && w.Code != http.StatusNotFound {
				t.Errorf("%s: status %d", path, w.Code)
			}
		}
	}
}

// smokeFeedSizes are a run with edges in little.
var smokeFeedSizes = feedSizes{
	keys: 5, pace: 50 * time.Millisecond, slot: 200 * time.Millisecond, slots: 2, conns: 4,
	manyKeys: 50, rounds: 2, turns: 2, issues: 50,
	phase: 2 * time.Second, waits: 3,
}

func TestWholeRunWithEdgesIsRightAndLeavesNothingBehind(t *testing.T) {
	long(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var out, progress strings.Builder
	args := strings.Fields("-edges 3 -revocations 5 -changes 3000 -readers 20 -json")
	o, err := parseOptions(args, &progress)
	if err != nil {
		t.Fatal(err)
	}
	if err := runFeed(t.Context(), o, smokeFeedSizes, &out, &progress); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), progress.String())
	}
	var r struct {
		Revocations revocationResult
		Backlog     backlogResult
		Readers     readersResult
		Cost        costResult
	}
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	if v := &r.Revocations; v.Refused.N != 15 || v.Waited.N != 5 || v.Confirmed.Median != 3 || v.Unconfirmed != 0 ||
		v.After != (answers{Refused: 5 * 3 * probesAfter}) || v.Load.Good == 0 {
		t.Errorf("revocations: %+v", v)
	}
	if b := &r.Backlog; b.Seen != 3*3005 || b.Late <= 0 || b.Process <= 0 || b.Meanwhile.Slots == 0 {
		t.Errorf("backlog: %+v", b)
	}
	if a := &r.Backlog.Asleep; runtime.GOOS == "linux" && (a.Skipped || a.Changes != 3001 || a.Removed < 2001) {
		t.Errorf("asleep: %+v", a)
	}
	if v := &r.Readers; v.Readers != 20 || v.Waited.N != 3 || v.Confirmed.Median != 20 || v.Changes != 2 {
		t.Errorf("readers: %+v", v)
	}
	if c := &r.Cost; len(c.Requests) != 2 || len(c.Pairs) != 2 || len(c.Rows) != 2 || len(c.IssuePairs) != 2 {
		t.Errorf("cost: %+v", c)
	}
	if left, err := filepath.Glob(filepath.Join(temp, "talos-loadtest-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// pageOf is a page of events with these positions, behind which the feed has been looked at up to one.
func pageOf(position int, events ...int) *api.EventsResponse {
	page := &api.EventsResponse{FeedID: "f", Position: api.Position(position), CompleteAge: "0s"}
	for _, p := range events {
		page.Events = append(page.Events, api.Event{Position: api.Position(p)})
	}
	return page
}

func TestAReaderNoticesChangesThatAreMissingOrComeTwice(t *testing.T) {
	t.Parallel()
	reset := pageOf(4)
	reset.Reset = true
	for _, tt := range []struct {
		name  string
		page  *api.EventsResponse
		wrong string
	}{
		{"the next two", pageOf(5, 4, 5), ""},
		{"none", pageOf(3), ""},
		{"a gap before the page", pageOf(5, 5), "position 5 comes after 3"},
		{"a gap in the page", pageOf(6, 4, 6), "position 6 comes after 4"},
		{"a gap behind the page", pageOf(6, 4, 5), "ends at position 5"},
		{"twice", pageOf(4, 4, 4), "position 4 comes after 4"},
		{"once more", pageOf(4, 3, 4), "position 3 comes after 3"},
		{"out of order", pageOf(5, 5, 4), "position 5 comes after 3"},
		{"a reset", reset, "reset"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &reader{name: "r"}
			if err := r.take(pageOf(3, 1, 2, 3)); err != nil {
				t.Fatal(err)
			}
			err := r.take(tt.page)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("%v, want %q", err, tt.wrong)
				}
				return
			}
			if err != nil || r.position.Load() != uint64(tt.page.Position) || r.changes.Load() != r.position.Load() {
				t.Errorf("at %d after %d changes: %v", r.position.Load(), r.changes.Load(), err)
			}
		})
	}
}

func TestReadersAcknowledgeUntilTheyEnd(t *testing.T) {
	t.Parallel()
	for _, gap := range []bool{false, true} {
		node := nodeBehind(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if id := r.Header.Get(api.EdgeIDHeader); !strings.HasPrefix(id, "reader-") {
				t.Errorf("edge %q", id)
			}
			var page *api.EventsResponse
			switch r.FormValue("after") {
			case "":
				page = pageOf(2, 1, 2)
			case "2":
				if page = pageOf(3, 3); gap {
					page = pageOf(4, 4)
				}
			default:
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(page)
		}))
		all, err := newReaders(node, 2)
		if err != nil {
			t.Fatal(err)
		}
		all.begin(t.Context(), 2, "reader")
		last, err := all.reached(t.Context(), 3)
		if ended := all.end(); (ended != nil) != gap || (err != nil) != gap || !gap && last.IsZero() {
			t.Errorf("with a gap %v: %v, %v, %v", gap, last, err, ended)
		}
	}
}
