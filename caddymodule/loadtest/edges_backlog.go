package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	api "github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/storage"
)

// verifyPace is the time between two verifications while their latency is measured.
const verifyPace = 2 * time.Millisecond

// A backlogResult is what came of many changes at once.
type backlogResult struct {
	Changes int     `json:"changes"`
	Readers int     `json:"readers"`
	Keys    int     `json:"keys"`         // that there are before, each of them a change
	Seen    uint64  `json:"changes_seen"` // by all readers
	Import  float64 `json:"import_s"`
	Last    float64 `json:"last_reader_s"`  // from the last answer of the import until the last reader has all
	Late    float64 `json:"late_reader_s"`  // from its start in the middle until it has all from the oldest change on
	Process float64 `json:"late_process_s"` // from the start of an edge in the middle until it is at the end

	Before    latencies `json:"verifications_before"`
	Meanwhile latencies `json:"verifications_meanwhile"`

	CPU          float64 `json:"node_cpu_s"`                 // until all edges have all; -1: unknown
	MemoryBefore float64 `json:"node_resident_bytes_before"` // -1: unknown
	MemoryMost   float64 `json:"node_resident_bytes_at_most"`
	MemoryAfter  float64 `json:"node_resident_bytes_after"`

	Asleep asleep `json:"asleep"`
}

// latencies are those of slots, in ms.
type latencies struct {
	P50   spread `json:"p50_ms"`
	P99   spread `json:"p99_ms"`
	Slots int    `json:"slots"`
}

// asleep is an edge that was stopped while the changes that it had not read were removed.
type asleep struct {
	Skipped bool    `json:"skipped"` // a process cannot be stopped here
	Changes int     `json:"changes_meanwhile"`
	Removed int     `json:"changes_removed"`
	Caught  float64 `json:"caught_up_s"`
	Good    int     `json:"status_of_the_good_key"`
	Revoked int     `json:"status_of_the_revoked_key"`
}

func (b *backlogResult) title() string {
	return fmt.Sprintf("%d keys imported in calls of %d, read by %d edges in this process", b.Changes, api.MaxImports,
		b.Readers)
}

func (b *backlogResult) table(line func(string, ...any)) {
	line("the import\t%.2f s\t", b.Import)
	line("from its end until the last edge has each change, in order and once\t%.2f s\t", b.Last)
	line("an edge that starts in the middle and reads from the oldest change on\t%.2f s\t", b.Late)
	line("a process that starts in the middle, until it is at the end\t%.2f s\t", b.Process)
	line("changes seen by all edges\t%d\t", b.Seen)
	if b.CPU >= 0 {
		line("processor time of the node, the import included\t%.2f s\t(%.1f µs for a change that an edge has seen)\t",
			b.CPU, b.CPU*1e6/float64(max(b.Seen, 1)))
	}
	line("resident memory of the node: before, at most, after\t%s, %s, %s MiB\t",
		mebi(b.MemoryBefore), mebi(b.MemoryMost), mebi(b.MemoryAfter))
	line("")
	line("a verification over the node's API (a slot each second)\tp50 ms\tp99 ms\tslots\t")
	line("before\t%s\t%s\t%d\t", around(&b.Before.P50, 2), around(&b.Before.P99, 2), b.Before.Slots)
	line("meanwhile\t%s\t%s\t%d\t", around(&b.Meanwhile.P50, 2), around(&b.Meanwhile.P99, 2), b.Meanwhile.Slots)
	line("")
	if a := &b.Asleep; a.Skipped {
		line("an edge that sleeps: not measured on this system")
	} else {
		line("an edge that slept through %d changes: %d events were removed meanwhile, and it caught up after %.2f s",
			a.Changes, a.Removed, a.Caught)
		line("a good key in its cache: %d; a key that was revoked, and the change removed: %d", a.Good, a.Revoked)
	}
}

// wrong reports changes that were not seen, and an edge that did not drop its cache.
func (b *backlogResult) wrong() (err error) {
	a := &b.Asleep
	if !a.Skipped && (a.Good != http.StatusOK || a.Revoked != http.StatusUnauthorized) {
		err = fmt.Errorf("an edge whose changes were removed answers a good key with %d and a revoked one with %d",
			a.Good, a.Revoked)
	}
	if all := uint64(b.Changes+b.Keys) * uint64(b.Readers); b.Seen != all { //nolint:gosec // counts
		err = errors.Join(err, fmt.Errorf("%d edges have seen %d changes together, and not %d", b.Readers, b.Seen, all))
	}
	return err
}

// backlog makes many changes at once while edges read them.
func (f *feedBench) backlog(ctx context.Context) (section, error) {
	node, err := f.feedNode(ctx, "node")
	if err != nil {
		return nil, err
	}
	defer node.stop()
	if err := node.issue(ctx, f.sizes.keys); err != nil {
		return nil, err
	}
	if err := f.aim("verify", node.api, node.credentials, true); err != nil {
		return nil, err
	}
	b := &backlogResult{Changes: f.feed.changes, Readers: f.feed.edges, Keys: f.sizes.keys}
	b.MemoryBefore, _ = node.resident()
	if b.Before, err = f.verifyFor(func(n int) bool { return n < f.sizes.slots }); err != nil {
		return nil, err
	}
	all, err := newReaders(node, f.feed.edges+1)
	if err != nil {
		return nil, err
	}
	started := all.begin(ctx, f.feed.edges, "reader")
	edge, err := b.measure(ctx, f, node, all)
	for _, r := range started {
		b.Seen += r.changes.Load()
	}
	if err := errors.Join(err, all.end()); err != nil {
		return nil, node.failure(err)
	}
	b.Asleep, err = sleepThrough(ctx, node, edge)
	return b, err
}

// verifyFor verifies keys over the node's API at a pace, slot after slot while more says so.
func (f *feedBench) verifyFor(more func(n int) bool) (found latencies, err error) {
	var p50, p99 []float64
	for found.Slots = 0; more(found.Slots); found.Slots++ {
		did, err := f.do(job{Op: opRun, Target: "verify", Conns: 1, Slot: f.slot, Pace: verifyPace, Latency: true})
		if err == nil && did.Failures > 0 {
			err = fmt.Errorf("%d verifications failed, the first: %s", did.Failures, did.First)
		}
		if err != nil {
			return found, err
		}
		p50, p99 = append(p50, milliseconds(did.P50)), append(p99, milliseconds(did.P99))
	}
	found.P50, found.P99 = spreadOf(p50), spreadOf(p99)
	return found, nil
}

// measure makes the changes and waits until all readers have seen them, while verifications go on. It returns the edge
// that it has started in the middle.
func (b *backlogResult) measure(ctx context.Context, f *feedBench, node *proxy, all *readers) (*proxy, error) {
	changing, stop := context.WithCancel(ctx)
	verified := make(chan error, 1)
	go func() {
		var err error
		b.Meanwhile, err = f.verifyFor(func(n int) bool { return n == 0 || changing.Err() == nil })
		verified <- err
	}()
	before, ok := cpuTime(node.pid)
	edge, err := b.changeAll(ctx, f, node, all)
	after, ok2 := cpuTime(node.pid)
	if b.CPU = -1; ok && ok2 {
		b.CPU = (after - before).Seconds()
	}
	stop()
	b.MemoryAfter, b.MemoryMost = node.resident()
	return edge, errors.Join(err, <-verified)
}

// changeAll makes the changes. In the middle, one more reader and one more edge start. It is called on the goroutine
// that starts processes.
func (b *backlogResult) changeAll(ctx context.Context, f *feedBench, node *proxy, all *readers) (*proxy, error) {
	began := time.Now()
	calls := b.Changes / api.MaxImports
	if err := importKeys(ctx, node, "first", calls/2); err != nil {
		return nil, err
	}
	started := time.Now()
	late := all.begin(ctx, 1, "late")[0]
	imported := make(chan error, 1)
	var ended time.Time
	go func() {
		err := importKeys(ctx, node, "second", calls-calls/2)
		ended = time.Now()
		imported <- err
	}()
	edge, err := f.lateEdge(ctx, node)
	b.Process = time.Since(started).Seconds()
	if err := errors.Join(err, <-imported); err != nil {
		return edge, err
	}
	position, err := node.position(ctx)
	if err != nil {
		return edge, err
	}
	last, err := all.reached(ctx, position)
	b.Import, b.Last = ended.Sub(began).Seconds(), max(last.Sub(ended).Seconds(), 0)
	b.Late = time.Unix(0, late.last.Load()).Sub(started).Seconds()
	return edge, err
}

const lateName = "late-process"

// lateEdge starts an edge, and waits until it has come to where the feed ended when it was started.
func (f *feedBench) lateEdge(ctx context.Context, node *proxy) (*proxy, error) {
	position, err := node.position(ctx)
	if err != nil {
		return nil, err
	}
	edge, err := f.launchEdge(ctx, node, lateName)
	if err != nil {
		return nil, err
	}
	return edge, node.awaitEdge(ctx, lateName, position)
}

// importKeys imports keys with so many calls, one after the other.
func importKeys(ctx context.Context, node *proxy, name string, calls int) error {
	c, err := node.client(1)
	if err != nil {
		return err
	}
	defer c.Close()
	keys := make([]api.ImportRequest, api.MaxImports)
	for call := range calls {
		for i := range keys {
			text := fmt.Sprintf("%s %d %d", name, call, i)
			keys[i] = api.ImportRequest{
				RawKey:       "load-" + text + "-" + forged(),
				IssueRequest: api.IssueRequest{Name: text, ActorID: "load", Scopes: []string{"orders:read"}},
			}
		}
		did, err := c.BatchImport(ctx, keys)
		if err == nil && did.FailureCount > 0 {
			err = fmt.Errorf("%d of %d keys were not imported", did.FailureCount, len(keys))
		}
		if err != nil {
			return node.failure(err)
		}
	}
	return nil
}

// Keys that are imported while an edge sleeps, before and after a key is revoked. An edge that wakes up has a page of
// the first ones already; of all, so many events are left that the revocation is not among them.
const (
	callsBefore = 1
	callsAfter  = 2
	eventsLeft  = 1000
)

// sleepThrough stops an edge, and lets it go on when events that it has not read have been removed. It has to drop what
// it has cached.
func sleepThrough(ctx context.Context, node, edge *proxy) (found asleep, err error) {
	good, err := node.issueOne(ctx, "good")
	if err != nil {
		return found, node.failure(err)
	}
	revoked, err := node.issueOne(ctx, "to be revoked")
	if err != nil {
		return found, node.failure(err)
	}
	ask := func(credential string) (int, error) {
		status, _, err := get(ctx, loopback, "http://"+edge.addr+"/orders/17", credential)
		return status, err
	}
	for _, key := range []string{good.Secret, good.Secret, revoked.Secret, revoked.Secret} {
		if status, err := ask(key); err != nil || status != http.StatusOK {
			return found, edge.failure(unexpected("a key that is good", status, err))
		}
	}
	if err := edge.hang(true); errors.Is(err, errors.ErrUnsupported) {
		return asleep{Skipped: true}, nil
	} else if err != nil {
		return found, err
	}
	err = found.change(ctx, node, revoked.Key.ID)
	if err := errors.Join(err, edge.hang(false)); err != nil {
		return found, err
	}
	awake := time.Now()
	position, err := node.position(ctx)
	if err == nil {
		err = node.awaitEdge(ctx, lateName, position)
	}
	found.Caught = time.Since(awake).Seconds()
	if err != nil {
		return found, edge.failure(err)
	}
	if found.Good, err = ask(good.Secret); err == nil {
		found.Revoked, err = ask(revoked.Secret)
	}
	return found, err
}

// change imports keys, revokes one, and removes the events up to the revocation, as a node does hourly.
func (a *asleep) change(ctx context.Context, node *proxy, id string) (err error) {
	before, err := node.position(ctx)
	if err != nil {
		return err
	}
	if err := importKeys(ctx, node, "asleep", callsBefore); err != nil {
		return err
	}
	if _, err := node.revoke(ctx, id, 0); err != nil {
		return node.failure(err)
	}
	if err := importKeys(ctx, node, "still asleep", callsAfter); err != nil {
		return err
	}
	after, err := node.position(ctx)
	if err != nil {
		return err
	}
	a.Changes = int(after - before) //nolint:gosec // some thousands
	store, err := storage.Open(ctx, "sqlite://"+node.database, storage.Options{})
	if err != nil {
		return err
	}
	a.Removed, err = store.PruneEvents(ctx, time.Time{}, eventsLeft)
	return errors.Join(err, store.Close())
}
