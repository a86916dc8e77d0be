package postgres

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// unhurried is a store that polls so seldom that it learns of changes by notifications alone.
var unhurried = Options{pollInterval: time.Hour}

func TestNodes_AChangeIsAppliedOnTheOthersByANotification(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	stores := []*Store{openAt(t, dsn, unhurried), openAt(t, dsn, unhurried), openAt(t, dsn, unhurried)}
	for i := range 30 {
		id := fmt.Sprintf("key-%d", i)
		create(t, stores[i%3], id)
		for n, s := range stores {
			eventually(t, fmt.Sprintf("store %d has applied change %d", n, i), func() bool { return slotOf(s, id) > 0 })
		}
	}
}

func TestNodes_ANotificationThatIsLostIsMadeUpForByThePoll(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	polls := openAt(t, dsn, Options{})
	// Of a change that another program makes nobody is notified.
	execute(t, dsn, "WITH at AS (UPDATE feed_last SET last = last + 1 RETURNING last) INSERT INTO events "+
		"SELECT last, decode(repeat('00', 16), 'hex'), 'k', 1, '', 1, 0, 0, '', 0, '', '', '' FROM at")
	eventually(t, "it is applied", func() bool { return slotOf(polls, "k") == 1 })
}

// gate is a querier whose Exec waits until it is let through.
type gate struct {
	querier
	came, let chan struct{}
}

func (g gate) Exec(context.Context, string, ...any) (tag pgconn.CommandTag, err error) {
	g.came <- struct{}{}
	<-g.let
	return tag, nil
}

func TestNodes_ANotificationIsSentOnceForAllChangesThatWaitForTheOneBefore(t *testing.T) {
	t.Parallel()
	g := gate{came: make(chan struct{}), let: make(chan struct{})}
	n := newNotifier(g)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go n.run(ctx)
	n.changed()
	<-g.came
	for range 1000 {
		n.changed()
	}
	g.let <- struct{}{}
	<-g.came
	g.let <- struct{}{}
	stop()
	select {
	case <-g.came:
		t.Error("a third notification is sent")
		g.let <- struct{}{}
		<-n.done
	case <-n.done:
	}
}

// TestAttack05_AChangeIsJudgedByWhatAnotherNodeMakesOfItsKeyMeanwhile begins a change of a key that another node has
// revoked, but not yet committed.
func TestAttack05_AChangeIsJudgedByWhatAnotherNodeMakesOfItsKeyMeanwhile(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(context.Context, *Store) error{
		"suspend": func(ctx context.Context, s *Store) error {
			_, err := s.Suspend(ctx, core.NetworkID{}, core.Issued, "k", core.Suspension{Time: testTime})
			return err
		},
		"rotate": func(ctx context.Context, s *Store) error {
			_, _, err := s.Rotate(ctx, core.NetworkID{}, "k", core.Rotation{NewKeyID: "next", Time: testTime})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			at, release := make(chan struct{}), make(chan struct{})
			var opts Options
			opts.hooks.BeforeCommit = func() error {
				at <- struct{}{}
				<-release
				return nil
			}
			other := openAt(t, dsn, Options{})
			create(t, other, "k")
			s := openAt(t, dsn, opts)
			revoked, changed := make(chan error), make(chan error)
			go func() { revoked <- revoke(context.Background(), s, "k") }()
			<-at
			go func() { changed <- change(context.Background(), other) }()
			eventually(t, "the change waits", func() bool {
				return queryText(t, dsn, "SELECT count(*)::text FROM pg_stat_activity "+
					"WHERE datname = current_database() AND wait_event_type = 'Lock'") == "1"
			})
			close(release)
			must(t, <-revoked)
			wantReason(t, <-changed, core.FailedPrecondition)
			k, err := other.Get(t.Context(), core.NetworkID{}, "k")
			if err != nil || k.Status != core.StatusRevoked || k.IsSuspended() {
				t.Errorf("the revoked key is %+v, %v", k, err)
			}
		})
	}
}

func TestNodes_OfTwoThatClaimAReaderAtOnceOneHasIt(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	stores := []*Store{openAt(t, dsn, Options{}), openAt(t, dsn, Options{})}
	claim := func(i int, name string, lease time.Duration) error {
		_, err := stores[i].ClaimReader(t.Context(), core.ReaderClaim{
			Name: name, Owner: fmt.Sprintf("node %d", i), Lease: lease,
		})
		return err
	}
	for round := range 20 {
		name := fmt.Sprintf("webhook %d", round)
		answers := make(chan error)
		for i := range 2 {
			go func() { answers <- claim(i, name, time.Minute) }()
		}
		if a, b := <-answers, <-answers; (a == nil) == (b == nil) {
			t.Errorf("%s: the answers are %v and %v", name, a, b)
		}
	}
	// By the clock of the database.
	must(t, claim(0, "lease", time.Nanosecond))
	must(t, claim(1, "lease", time.Minute))
	wantReason(t, claim(0, "lease", time.Minute), core.Conflict)
}

// TestNodes_ClocksThatDifferAreTheDatabases has a node whose clock is an hour late.
func TestNodes_ClocksThatDifferAreTheDatabases(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	right := openAt(t, dsn, Options{})
	execute(t, dsn, "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "+
		"$$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$")
	late := openAt(t, dsn+"&search_path=public,pg_catalog", Options{})
	now := time.Now()
	claim := core.ReaderClaim{Name: "webhook", Owner: "right", Lease: time.Minute}
	_, err := right.ClaimReader(t.Context(), claim)
	must(t, err)
	claim.Owner = "late"
	_, err = late.ClaimReader(t.Context(), claim) // by its own clock, the lease has not ended
	must(t, err)

	must(t, late.SaveNode(t.Context(), node("late", now.Add(-time.Hour))))
	must(t, right.SaveNode(t.Context(), node("right", now)))
	for s, want := range map[*Store]time.Time{right: now, late: now.Add(-time.Hour)} {
		nodes, _, err := s.Nodes(t.Context())
		must(t, err)
		for _, n := range nodes {
			if n.Seen.Sub(want).Abs() > clockTolerance {
				t.Errorf("node %s was seen at %s, want %s by this node's clock", n.ID, n.Seen, want)
			}
		}
	}
}

func node(id string, seen time.Time) core.NodeState {
	return core.NodeState{Edge: feed.Edge{ID: id, Seen: seen}}
}
