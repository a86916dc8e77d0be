package upstream

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core/verify"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// inPipes connects edges in memory, for a history on a clock of its own.
func inPipes(t testing.TB, h http.Handler) place {
	t.Helper()
	return place{fmt.Sprintf("http://%d.localhost", pipes.Add(1)), serveInMemory(t, h)}
}

var pipes atomic.Int64

// overTCP connects edges by sockets.
func overTCP(t testing.TB, h http.Handler) place {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return place{address: server.URL}
}

// historySeeds are the seeds of the histories of a test: as many as in the normal run, or with TALOS_LONG, or the one
// that TALOS_SEED names.
func historySeeds(t *testing.T, normal, long uint64) (seeds []uint64) {
	t.Helper()
	if s := os.Getenv("TALOS_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("TALOS_SEED: %v", err)
		}
		return []uint64{seed}
	}
	n := normal
	if os.Getenv("TALOS_LONG") != "" {
		n = long
	}
	for seed := range n {
		seeds = append(seeds, seed+1)
	}
	return seeds
}

// What is acknowledged counts at the node at once, what an edge has confirmed counts there from then on, and what it
// has not confirmed counts there within the bounds of its configuration. Callers change keys, and read them at the node
// and at three edges, while links are slow, lose and repeat requests and are cut, edges and the node are restarted, and
// old events are removed. A model of a key as a register judges what they have read. The clock is the test's own.
func TestAHistoryOfChangesAndVerificationsKeepsThePromisesOfTheFeed(t *testing.T) {
	t.Parallel()
	var seen counts
	t.Cleanup(func() {
		if !raceDetector {
			seen.check(t)
		}
	})
	for name, w := range map[string]world{
		"one address":                {},
		"a second address is behind": {behind: time.Second},
		"the feed is read late":      {late: 3 * time.Second},
		"two nodes on a file":        {nodes: 2, lag: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.length, w.faults, w.open = 20*time.Second, 10, inFile
			if os.Getenv("TALOS_LONG") != "" {
				w.length = time.Minute
			}
			for _, seed := range historySeeds(t, 1, 40) {
				if w.make(t, seed, &seen).report(t, seed); t.Failed() {
					return
				}
			}
		})
	}
}

// make makes a history on a clock of its own. The race detector fails on long ones (https://go.dev/issue/78156): with
// it, the history is shorter, over sockets and on the machine's clock.
func (w world) make(t *testing.T, seed uint64, seen *counts) (r *run) {
	t.Helper()
	if raceDetector {
		w.length, w.connect = w.length/5, overTCP
		return makeHistory(t, seed, w, seen)
	}
	w.connect = inPipes
	synctest.Test(t, func(t *testing.T) { r = makeHistory(t, seed, w, seen) })
	return r
}

// The same over sockets and on the machine's clock.
func TestAHistoryOverSocketsKeepsThePromisesOfTheFeed(t *testing.T) {
	t.Parallel()
	w := world{length: 3 * time.Second, faults: 10, open: inFile, connect: overTCP}
	if os.Getenv("TALOS_LONG") != "" {
		w.length = time.Minute
	}
	for _, seed := range historySeeds(t, 1, 5) {
		makeHistory(t, seed, w, new(counts)).report(t, seed)
	}
}

// nodeLease is how long a node on PostgreSQL relies on what it knows of the changes of others, and one poll more.
const nodeLease = 800 * time.Millisecond

// The same with two nodes on PostgreSQL, each of which is restarted now and then.
func TestAHistoryOfTwoNodesOnPostgreSQLKeepsThePromisesOfTheFeed(t *testing.T) {
	t.Parallel()
	w := world{
		length: 3 * time.Second, faults: 10, nodes: 2, lag: nodeLease, connect: overTCP,
		open: func(t testing.TB) string { t.Helper(); return pgtest.Database(t) },
	}
	if os.Getenv("TALOS_LONG") != "" {
		w.length = time.Minute
	}
	for _, seed := range historySeeds(t, 1, 5) {
		makeHistory(t, seed, w, new(counts)).report(t, seed)
	}
}

// report has the history judged.
func (r *run) report(t *testing.T, seed uint64) {
	t.Helper()
	if wrong := r.judge(); wrong != "" {
		t.Errorf("repeat it with TALOS_SEED=%d: %s", seed, wrong)
	}
}

// counts are what histories have seen.
type counts struct {
	confirmed, unconfirmed atomic.Int64                       // edges, by changes
	answers                [len(verify.Statuses)]atomic.Int64 // of edges
}

// check reports what histories should have seen and have not: then they show nothing.
func (c *counts) check(t *testing.T) {
	t.Helper()
	if c.confirmed.Load() == 0 || c.unconfirmed.Load() == 0 {
		t.Errorf("%d edges have confirmed a change, and %d have not", c.confirmed.Load(), c.unconfirmed.Load())
	}
	for _, status := range []verify.Status{verify.Miss, verify.Hit, verify.Negative, verify.Stale} {
		if c.answers[status].Load() == 0 {
			t.Errorf("no answer was a %s", status)
		}
	}
}
