package main

import (
	"bufio"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestZipfDrawsRanksByTheirWeight(t *testing.T) {
	t.Parallel()
	z := newZipf(4, 1) // weights 12, 6, 4 and 3 of 25
	for _, tt := range []struct {
		u    float64
		want int
	}{{0, 0}, {0.47, 0}, {0.49, 1}, {0.71, 1}, {0.73, 2}, {0.87, 2}, {0.89, 3}, {math.Nextafter(1, 0), 3}, {1, 3}} {
		if got := z.rank(tt.u); got != tt.want {
			t.Errorf("rank(%v) = %d, want %d", tt.u, got, tt.want)
		}
	}
	trace := newZipf(1000, 1.1).trace(50_000, 1)
	if !slices.Equal(trace, newZipf(1000, 1.1).trace(50_000, 1)) {
		t.Error("the same trace is another one the second time")
	}
	if slices.Equal(trace, newZipf(1000, 1.1).trace(50_000, 2)) {
		t.Error("another seed gives the same trace")
	}
	counts := make([]float64, 1000)
	for _, r := range trace {
		counts[r]++
	}
	if got, want := counts[0]/counts[1], math.Pow(2, 1.1); math.Abs(got-want) > 0.2 {
		t.Errorf("rank 0 is drawn %.2f times as often as rank 1, want about %.2f", got, want)
	}
}

func TestHitRatiosAreHeldAgainstWhatTheBestCouldDo(t *testing.T) {
	t.Parallel()
	first, second := []int32{0, 1, 0, 2}, []int32{0, 3, 3, 1}
	static, unbounded := ceilings(first, second, 4, 2)
	if static != 0.5 || unbounded != 0.75 {
		t.Errorf("static %v, unbounded %v, want 0.5 and 0.75", static, unbounded)
	}
	// After the first part, an LRU of two has 0 and 2; then 0 hits, 3 comes for 2, 3 hits, 1 comes for 0.
	if got := leastRecent(first, second, 2); got != 0.5 {
		t.Errorf("LRU %v, want 0.5", got)
	}
	if got := leastRecent(first, second, 4); got != unbounded {
		t.Errorf("an LRU with room for all has %v, want %v", got, unbounded)
	}
}

func TestTraceThroughACacheWithRoomForAllMissesFirstSightsOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// A write into the cache is seen late; here each is waited for.
		row, err := traced(t.Context(), 1, 500, 1000, smallestCache, 500, synctest.Wait)
		if err != nil {
			t.Fatal(err)
		}
		if row.Hits != row.Unbounded || row.Static != 1 {
			t.Errorf("%+v", row)
		}
	})
}

func TestMetricsAreReadWithTheirLabelsAndSummedWithout(t *testing.T) {
	t.Parallel()
	text := "# HELP a b c\n# TYPE a counter\na{x=\"1\"} 2\na{x=\"two words\"} 3\nb 4.5e+01\n\nc_sum 7\n"
	r, err := parseMetrics(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"a": 5, `a{x="1"}`: 2, `a{x="two words"}`: 3, "b": 45, "c_sum": 7, "d": 0,
	} {
		if r[name] != want {
			t.Errorf("%s = %v, want %v", name, r[name], want)
		}
	}
	if grown := r.since(reading{"a": 4, "b": 45}); grown["a"] != 1 || grown["b"] != 0 || grown["c_sum"] != 7 {
		t.Errorf("grown by %v", grown)
	}
	for _, bad := range []string{"a", "a b", "a{x=\"1\"} one"} {
		if r, err := parseMetrics(bad); err == nil {
			t.Errorf("%q is read as %v", bad, r)
		}
	}
}

func TestCallsThatTheBreakerHeldBackAreNotSent(t *testing.T) {
	t.Parallel()
	r := reading{metricCalls: 10, metricRefused: 4, metricOK: 5}
	if got := r.sent(); got != 6 {
		t.Errorf("%v sent, want 6", got)
	}
}

func TestAnswersAreCountedByWhatTheySay(t *testing.T) {
	t.Parallel()
	var a answers
	for _, status := range []int{200, 200, 401, 503, 500, 302} {
		a.add(status, nil)
	}
	a.add(200, io.ErrUnexpectedEOF)
	if want := (answers{Good: 2, Refused: 1, Unavailable: 1, Other: 3}); a != want {
		t.Errorf("%+v, want %+v", a, want)
	}
	a.join(&answers{Good: 1, Refused: 1, Unavailable: 1, Other: 1})
	if want := (answers{Good: 3, Refused: 2, Unavailable: 2, Other: 4}); a != want {
		t.Errorf("joined: %+v, want %+v", a, want)
	}
}

func TestWrongAnswersFailTheRunAndUnavailableOnesDoNot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		known, unknown answers
		wrong          string
	}{
		{"all right", answers{Good: 9, Unavailable: 3}, answers{Refused: 5, Unavailable: 2}, ""},
		{"a good key refused", answers{Good: 9, Refused: 1}, answers{}, "1 good credentials were refused"},
		{"an unknown key let in", answers{}, answers{Good: 2}, "2 unknown credentials were let in"},
		{"no answer", answers{Good: 9, Other: 1}, answers{}, "1 requests had another answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range []section{
				&outageResult{Seconds: []outageSecond{{second: second{Known: tt.known, Unknown: tt.unknown}}}},
				&abuseResult{abuse: abuse{Good: tt.known, Forged: tt.unknown}},
			} {
				err := s.wrong()
				if tt.wrong == "" && err != nil {
					t.Errorf("%T: %v", s, err)
				}
				if tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
					t.Errorf("%T: %v, want %q", s, err, tt.wrong)
				}
			}
		})
	}
}

func TestAbuseIsNoLargerThanTheFilesThatAProcessMayOpen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		files uint64
		want  int
	}{
		{0, 0}, {filesBeside, 0}, {filesBeside + 14, 10}, {15_000, 10_000}, {20_000, 10_000},
		{math.MaxUint64 / 20, 10_000},
	} {
		if got := fits(10_000, tt.files); got != tt.want {
			t.Errorf("%d files: %d connections, want %d", tt.files, got, tt.want)
		}
	}
}

func TestSidecarFlagsRefuseNonsense(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"-rounds 5", "-keys 10", "-conns 64", "-slot 1s", "-extra a=b", "-cpuprofile f", "-stock-binary f",
		"-only bare", "-only burst,", "argument",
	} {
		if o, err := parseOptions(append([]string{"-sidecar"}, strings.Fields(args)...), io.Discard); err == nil {
			t.Errorf("%s: accepted as %+v", args, o)
		}
	}
	args := strings.Fields("-sidecar -only abuse,hits -json -binary f -gogc 100 -gomemlimit 1GiB")
	if _, err := parseOptions(args, io.Discard); err != nil {
		t.Error(err)
	}
}

// linked runs a link to addr and gives its address.
func linked(t *testing.T, addr string, delay time.Duration) string {
	t.Helper()
	in, stop := io.Pipe()
	out, addrs := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveLink(in, addrs) }()
	if err := json.NewEncoder(stop).Encode(linkJob{At: "127.0.0.1:0", To: addr, Delay: delay}); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the link ended with %v", err)
		}
	})
	return strings.TrimSpace(line)
}

func TestLinkDelaysBothDirectionsAndKeepsEveryByte(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(server.Close)
	const oneWay = 15 * time.Millisecond
	addr := linked(t, server.Listener.Addr().String(), oneWay)
	caller := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(caller.CloseIdleConnections)
	sent := strings.Repeat("0123456789abcdef", 20_000) // several parcels
	for range 2 {
		began := time.Now()
		resp, err := caller.Post("http://"+addr+"/", "text/plain", strings.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(got) != sent {
			t.Fatalf("%d bytes came back of %d, %v", len(got), len(sent), err)
		}
		if took := time.Since(began); took < 2*oneWay {
			t.Errorf("there and back in %s, want at least %s", took, 2*oneWay)
		}
	}
}

func TestLinkToNobodyHangsUp(t *testing.T) {
	t.Parallel()
	c := &client{addr: linked(t, "127.0.0.1:1", time.Millisecond)}
	t.Cleanup(c.close)
	if status, err := c.do(requestFor("x", "any")); err == nil {
		t.Errorf("status %d from nobody", status)
	}
}

func TestTimelineCountsEachRequestInItsSecondByCredential(t *testing.T) {
	t.Parallel()
	var good, forged atomic.Uint64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer good" {
			good.Add(1)
			return
		}
		forged.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	did := jobsOn(t,
		job{Op: opTarget, Target: "t", Addr: server.Listener.Addr().String(), Credentials: []string{"good"}},
		job{Op: opTimeline, Target: "t", Conns: 2, At: time.Now(),
			Slot: 300 * time.Millisecond, Pace: 5 * time.Millisecond},
	)[1]
	if len(did.Seconds) != 1 {
		t.Fatalf("%d seconds, want 1", len(did.Seconds))
	}
	s := did.Seconds[0]
	want := second{Known: answers{Good: good.Load()}, Unknown: answers{Refused: forged.Load()}}
	if s.Known != want.Known || s.Unknown != want.Unknown || s.Known.Good == 0 || s.P99 <= 0 {
		t.Errorf("%+v, want %+v", s, want)
	}
}

func TestAbuseCountsWaitersLeaversAndSlowCallers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	did := jobsOn(t,
		job{Op: opTarget, Target: "t", Addr: server.Listener.Addr().String(), Credentials: []string{"good"}},
		job{Op: opAbuse, Target: "t", Conns: 20, Slot: 3 * time.Second},
	)[1].Abuse
	if did == nil {
		t.Fatal("nothing came of it")
	}
	if err := (&abuseResult{abuse: *did}).wrong(); err != nil {
		t.Error(err)
	}
	if did.Good.Good == 0 || did.Forged.Unavailable == 0 || did.Left == 0 || did.Trickle == 0 || did.Cut != 0 ||
		did.Failed != 0 || did.Open < 14 || did.Open > 20 {
		t.Errorf("%+v", *did)
	}
}

func TestMemoryAndFilesAreKnownOnLinux(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("read from /proc")
	}
	now, most, ok := memory(1 << 30)
	if ok {
		t.Errorf("a process that is not there has %v and at most %v", now, most)
	}
	if files, ok := openFiles(); !ok || files == 0 {
		t.Errorf("%d files, %v", files, ok)
	}
}

// smokeSizes are a run in little.
var smokeSizes = sidecarSizes{
	roundTrip: 20 * time.Millisecond,
	keys:      300, atOnce: 32, rounds: 1, lonely: 5,
	traceKeys: 1000, traceRequests: 2000,
	outage: outageSizes{
		length: 8 * time.Second, down: 2 * time.Second, up: 4 * time.Second,
		keys: 50, conns: 8, pace: 20 * time.Millisecond,
	},
	abuse: 200, abuseTime: 3 * time.Second, abuseFar: 100 * time.Millisecond, abuseMax: 20,
	overload: overloadSizes{
		far: []time.Duration{200 * time.Millisecond}, times: 2, keys: 50, known: 20, length: 2 * time.Second,
	},
}

func TestWholeSidecarRunIsRightAndLeavesNothingBehind(t *testing.T) {
	long(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var out, progress strings.Builder
	o, err := parseOptions([]string{"-sidecar", "-json"}, &progress)
	if err != nil {
		t.Fatal(err)
	}
	if err := runSidecar(t.Context(), o, smokeSizes, &out, &progress); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), progress.String())
	}
	var r struct {
		Burst  bursts
		Lonely loneliness
		Hits   hitRows
		Outage outageResult
		Abuse  abuseResult

		Overload overloads
	}
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Burst.Rows) != 2 || r.Burst.Rows[0].Calls.Median >= 300 || r.Burst.Rows[1].Calls.Median != 300 {
		t.Errorf("burst: %s", out.String())
	}
	roundTrip := microseconds(smokeSizes.roundTrip)
	if r.Lonely.Bare.Median < roundTrip || r.Lonely.Miss.Median < roundTrip {
		t.Errorf("lonely: %+v", r.Lonely)
	}
	if len(r.Hits.Rows) != 6 || r.Hits.Rows[0].Hits == 0 {
		t.Errorf("hits: %+v", r.Hits)
	}
	last := len(r.Outage.Seconds) - 1
	if last != 7 || r.Outage.Seconds[3].Unknown.Unavailable == 0 || r.Outage.Seconds[3].Stale == 0 ||
		r.Outage.Seconds[last].Known.Good == 0 {
		t.Errorf("outage: %+v", r.Outage)
	}
	if r.Abuse.Most.Queue > float64(smokeSizes.abuseMax) || r.Abuse.After.Queue != 0 || r.Abuse.Left == 0 {
		t.Errorf("abuse: %+v", r.Abuse)
	}
	if rows := r.Overload.Rows; len(rows) != 3 || rows[0].Unknown.Refused == 0 || rows[0].Unknown.Unavailable == 0 ||
		rows[1].Known.Good == 0 || rows[2].Unknown.Refused != 0 {
		t.Errorf("overload: %+v", r.Overload)
	}
	if left, err := filepath.Glob(filepath.Join(temp, "talos-loadtest-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
