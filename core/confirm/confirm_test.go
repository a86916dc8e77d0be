package confirm_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/confirm"
	"github.com/talos-edge/talos-edge/core/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database is what processes on one database share. Each process has a table of positions of its own.
type database struct {
	mu      sync.Mutex
	nodes   map[string]core.NodeState
	awaited time.Time
	down    error
}

type store struct {
	*database
	positions feed.Positions
}

func (d *database) SaveNode(_ context.Context, n core.NodeState) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nodes == nil {
		d.nodes = map[string]core.NodeState{}
	}
	d.nodes[n.ID] = n
	return d.down
}

func (d *database) RemoveNode(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.nodes, id)
	return d.down
}

func (d *database) Nodes(context.Context) ([]core.NodeState, time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []core.NodeState
	for _, id := range slices.Sorted(maps.Keys(d.nodes)) {
		all = append(all, d.nodes[id])
	}
	return all, d.awaited, d.down
}

func (d *database) AwaitNodes(_ context.Context, until time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if until.After(d.awaited) {
		d.awaited = until
	}
	return d.down
}

func (s *store) Positions() *feed.Positions { return &s.positions }

// process is one of those on a database.
type process struct {
	*confirm.Confirmations
	store *store
}

func (d *database) process(t *testing.T, id string) *process {
	t.Helper()
	p := &process{store: &store{database: d}}
	p.Confirmations = confirm.New(t.Context(), p.store, id, "v1")
	t.Cleanup(p.Close)
	synctest.Wait()
	return p
}

// apply applies a change in the process.
func (p *process) apply(position uint64) {
	p.store.positions.Apply(feed.Event{Position: position, KeyID: "a", Kind: feed.EventUpdated})
	synctest.Wait()
}

// acknowledge is an edge that asks.
func (p *process) acknowledge(t *testing.T, id string, position uint64) {
	t.Helper()
	if err := p.Acknowledge(feed.Edge{ID: id, Position: position}); err != nil {
		t.Error(err)
	}
}

// await waits for a position, a second at most.
func (p *process) await(t *testing.T, position uint64) (confirm.Result, time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	return p.Await(ctx, core.NetworkID{}, position), time.Since(began)
}

func want(t *testing.T, got confirm.Result, confirmed int, unconfirmed string) {
	t.Helper()
	if got.Confirmed != confirmed || strings.Join(got.Unconfirmed, " ") != unconfirmed {
		t.Errorf("got %+v, want %d confirmed, and %q not", got, confirmed, unconfirmed)
	}
}

func TestWithoutEdgesNobodyIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := new(database).process(t, "a")
		got, took := p.await(t, 7)
		if want(t, got, 0, ""); took != 0 {
			t.Errorf("that took %s", took)
		}
	})
}

func TestEachLiveEdgeIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := new(database).process(t, "a")
		p.acknowledge(t, "fast", 4)
		p.acknowledge(t, "slow", 4)
		go func() {
			p.acknowledge(t, "fast", 5)
			time.Sleep(40 * time.Millisecond)
			p.acknowledge(t, "slow", 5)
		}()
		got, took := p.await(t, 5)
		if want(t, got, 2, ""); took != 40*time.Millisecond {
			t.Errorf("that took %s", took)
		}
		go p.acknowledge(t, "fast", 6)
		got, took = p.await(t, 6)
		if want(t, got, 1, "slow"); took != time.Second {
			t.Errorf("that took %s", took)
		}
	})
}

func TestAnEdgeThatHasBegunAnewHasAppliedNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := new(database).process(t, "a")
		p.acknowledge(t, "edge", 5)
		p.acknowledge(t, "edge", 0)
		got, _ := p.await(t, 5)
		want(t, got, 0, "edge")
	})
}

// Two processes may have been given the same name by mistake: neither speaks for the other.
func TestTwoEdgesOfOneNameAreTwo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := new(database).process(t, "a")
		for instance, position := range map[string]uint64{"x": 5, "y": 4} {
			if err := p.Acknowledge(feed.Edge{ID: "edge", Instance: instance, Position: position}); err != nil {
				t.Fatal(err)
			}
		}
		got, _ := p.await(t, 5)
		want(t, got, 1, "edge")
	})
}

func TestAnEdgeThatIsGoneIsShownAndNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := new(database).process(t, "a")
		p.acknowledge(t, "gone", 4)
		time.Sleep(confirm.LiveFor)
		got, _ := p.await(t, 5)
		want(t, got, 0, "")
		for _, after := range []time.Duration{0, confirm.ShownFor} {
			time.Sleep(after)
			all, err := p.List(t.Context(), core.NetworkID{})
			if shown := after == 0; err != nil || (len(all) == 1) != shown || p.Live() != 0 {
				t.Errorf("after %s: %+v, %v, %d live", after, all, err, p.Live())
			}
		}
	})
}

// An edge that falls silent while it is waited for has not confirmed anything.
func TestAnEdgeThatFallsSilentMeanwhileIsUnconfirmed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := new(database).process(t, "a")
		p.acknowledge(t, "silent", 4)
		time.Sleep(confirm.LiveFor - time.Second/2)
		got, _ := p.await(t, 5)
		want(t, got, 0, "silent")
	})
}

func TestAnEdgeThatEndsIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := new(database).process(t, "a")
		p.acknowledge(t, "edge", 4)
		p.Leave(&feed.Edge{ID: "edge"})
		got, _ := p.await(t, 5)
		want(t, got, 0, "")
	})
}

func TestOtherProcessesOnTheDatabaseAndTheirEdgesAreWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(database)
		a, b := d.process(t, "a"), d.process(t, "b")
		b.acknowledge(t, "edge of b", 0)
		if err := a.Announce(t.Context(), time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		a.apply(1)
		go func() {
			time.Sleep(20 * time.Millisecond)
			b.apply(1)
			time.Sleep(100 * time.Millisecond)
			b.acknowledge(t, "edge of b", 1)
		}()
		got, took := a.await(t, 1)
		if want(t, got, 2, ""); took < 120*time.Millisecond || took > 200*time.Millisecond {
			t.Errorf("that took %s", took)
		}
		all, err := a.List(t.Context(), core.NetworkID{})
		if err != nil || len(all) != 2 || all[0].ID != "b" || all[0].Version != "v1" || all[1].ID != "edge of b" ||
			all[1].Via != "b" {
			t.Errorf("got %+v, %v", all, err)
		}
	})
}

func TestAProcessThatEndsIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(database)
		a := d.process(t, "a")
		b := confirm.New(t.Context(), &store{database: d}, "b", "")
		synctest.Wait()
		got, _ := a.await(t, 1)
		want(t, got, 0, "b")
		b.Close()
		got, _ = a.await(t, 1)
		want(t, got, 0, "")
	})
}

func TestAProcessThatIsKilledIsGivenUpAfterAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(database)
		a := d.process(t, "a")
		if err := d.SaveNode(t.Context(), core.NodeState{Edge: feed.Edge{ID: "killed", Seen: time.Now()}}); err != nil {
			t.Fatal(err)
		}
		got, _ := a.await(t, 1)
		want(t, got, 0, "killed")
		time.Sleep(confirm.LiveFor)
		got, _ = a.await(t, 1)
		want(t, got, 0, "")
	})
}

// An edge that has moved from one process to another has one position: the one that it told last.
func TestAnEdgeOfAProcessThatWasKilledIsKnownWhereItReadsNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(database)
		a := d.process(t, "a")
		if err := d.SaveNode(t.Context(), core.NodeState{
			Edge: feed.Edge{ID: "killed", Position: 7, Seen: time.Now()},
			Edges: []feed.Edge{
				{ID: "edge", Position: 1, Seen: time.Now()}, {ID: "other", Position: 1, Seen: time.Now()},
			},
		}); err != nil {
			t.Fatal(err)
		}
		a.acknowledge(t, "edge", 7)
		got, _ := a.await(t, 7)
		want(t, got, 2, "other")
		if all, err := a.List(t.Context(), core.NetworkID{}); err != nil || len(all) != 3 {
			t.Errorf("got %+v, %v", all, err)
		}
	})
}

func TestAnEdgeThatHasMovedToAnotherProcessIsKnownThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(database)
		a, b := d.process(t, "a"), d.process(t, "b")
		a.acknowledge(t, "edge", 1)
		time.Sleep(time.Second)
		b.acknowledge(t, "edge", 7)
		if err := a.Announce(t.Context(), time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		a.apply(7)
		b.apply(7)
		got, took := a.await(t, 7)
		if want(t, got, 2, ""); took > 200*time.Millisecond {
			t.Errorf("that took %s", took)
		}
	})
}

// A record that could not be written is written soon after.
func TestAProcessThatCouldNotRecordItselfTriesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &database{down: core.NewError(core.Unavailable, "down")}
		d.process(t, "late")
		time.Sleep(10 * time.Second)
		d.mu.Lock()
		d.down, d.nodes = nil, nil
		d.mu.Unlock()
		time.Sleep(2 * time.Second)
		a := d.process(t, "a")
		got, _ := a.await(t, 1)
		want(t, got, 0, "late")
	})
}

// A process that is idle says now and then that it is there.
func TestAnIdleProcessIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(database)
		a := d.process(t, "a")
		d.process(t, "idle")
		time.Sleep(10 * time.Minute)
		got, _ := a.await(t, 1)
		want(t, got, 0, "idle")
	})
}

// Nobody knows then which processes there are.
func TestADatabaseThatDoesNotAnswerConfirmsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(database)
		a := d.process(t, "a")
		a.acknowledge(t, "edge", 1)
		d.mu.Lock()
		d.down = core.NewError(core.Unavailable, "down")
		d.mu.Unlock()
		got, _ := a.await(t, 1)
		want(t, got, 1, "(other processes on the database)")
		if _, err := a.List(t.Context(), core.NetworkID{}); core.ReasonOf(err) != core.Unavailable {
			t.Error(err)
		}
	})
}

func TestEdgesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var e confirm.Edges
		for i := range confirm.MaxEdges {
			if err := e.Acknowledge(feed.Edge{ID: "edge", Instance: string(rune(i + 1))}); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Acknowledge(feed.Edge{ID: "one more"}); core.ReasonOf(err) != core.Unavailable {
			t.Error(err)
		}
		time.Sleep(confirm.ShownFor + time.Second)
		if err := e.Acknowledge(feed.Edge{ID: "one more"}); err != nil {
			t.Error(err)
		}
	})
}

func TestEachAcknowledgedChangeIsMeasured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var measured []time.Duration
		e := confirm.Edges{Confirmed: func(d time.Duration) { measured = append(measured, d) }}
		edge := feed.Edge{ID: "edge"}
		ask := func(position uint64) {
			edge.Position = position
			if err := e.Acknowledge(edge); err != nil {
				t.Fatal(err)
			}
		}
		ask(1)
		e.Sent(&edge, 3, time.Now())
		time.Sleep(7 * time.Millisecond)
		ask(2)
		time.Sleep(3 * time.Millisecond)
		ask(3)
		ask(3)
		if !slices.Equal(measured, []time.Duration{10 * time.Millisecond}) {
			t.Errorf("measured %v", measured)
		}
	})
}

// Two networks have edges of one name. An operator of one sees nothing of the other, and waits for nobody there.
func TestTheEdgesOfNetworksAreApart(t *testing.T) {
	t.Parallel()
	first, second := core.NetworkID{1}, core.NetworkID{2}
	for where, processes := range map[string]func(*testing.T) (asked, read *process){
		"on this process": func(t *testing.T) (asked, read *process) {
			t.Helper()
			p := new(database).process(t, "a")
			return p, p
		},
		"on another process": func(t *testing.T) (asked, read *process) {
			t.Helper()
			d := new(database)
			return d.process(t, "a"), d.process(t, "b")
		},
	} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				asked, read := processes(t)
				for _, e := range []feed.Edge{
					{ID: "edge", Position: 1, Network: first}, {ID: "only-second", Network: second},
					{ID: "edge", Network: second},
				} {
					if err := read.Acknowledge(e); err != nil {
						t.Fatal(err)
					}
				}
				if err := asked.Announce(t.Context(), time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				asked.apply(1)
				read.apply(1)
				for network, names := range map[core.NetworkID]string{first: "", second: "edge only-second", {}: ""} {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					got := asked.Await(ctx, network, 1)
					cancel()
					if strings.Join(got.Unconfirmed, " ") != names {
						t.Errorf("network %s waits for %v, want %q", network, got.Unconfirmed, names)
					}
					all, err := asked.List(t.Context(), network)
					if err != nil {
						t.Fatal(err)
					}
					for _, e := range all {
						if e.Network != network && e.Network != (core.NetworkID{}) {
							t.Errorf("network %s is shown %+v", network, e)
						}
					}
				}
			})
		})
	}
}
