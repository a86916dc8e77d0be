package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

func TestAttack22_AServerThatStopsLosesNothingThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*testing.T, *pgtest.Server){
		"shut down":          func(t *testing.T, s *pgtest.Server) { t.Helper(); s.Stop(t, pgtest.Fast) },
		"shut down at once":  func(t *testing.T, s *pgtest.Server) { t.Helper(); s.Stop(t, pgtest.Immediate) },
		"killed by a signal": func(t *testing.T, s *pgtest.Server) { t.Helper(); s.Kill(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t)
			dsn := server.Database(t)
			stores := []*Store{openAt(t, dsn, Options{}), openAt(t, dsn, Options{})}
			l := loadOn(t, stores...)
			for range 2 {
				l.goesOn(t)
				stop(t, server)
				_, err := stores[0].Get(t.Context(), core.NetworkID{}, "k")
				wantReason(t, err, core.Unavailable)
				server.Restart(t)
			}
			l.goesOn(t)
			wantKept(t, dsn, l.end(), stores...)
		})
	}
}

// CockroachDB is such a database.
func TestWatcher_WhereThereIsNoLISTENThePollsFindTheChangesOfOthers(t *testing.T) {
	t.Parallel()
	logs, seen := observer.New(zap.InfoLevel)
	direct := pgtest.Database(t)
	p, dsn := newProxy(t, direct)
	p.deaf = true
	s, other := openAt(t, dsn, Options{Logger: zap.New(logs)}), openAt(t, direct, Options{})
	create(t, other, "k")
	eventually(t, "the change is found", func() bool { return slotOf(s, "k") == 1 })
	p.cut()
	must(t, revoke(t.Context(), other, "k"))
	eventually(t, "it is found on another connection", func() bool { return slotOf(s, "k") == 2 })
	if n := seen.FilterMessageSnippet("has no LISTEN").Len(); n != 1 {
		t.Errorf("the log says %d times that there is no LISTEN", n)
	}
}

func TestAttack22_ConnectionsThatAreCutLoseNothingThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	dsn := pgtest.Database(t)
	stores := []*Store{openAt(t, dsn, Options{}), openAt(t, dsn, Options{})}
	l := loadOn(t, stores...)
	one := "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'talos' "
	for _, condition := range []string{
		"AND query LIKE '%FROM feed_last'", // those that watch
		"AND state = 'active'",
		"AND state LIKE 'idle in transaction%'",
		"ORDER BY backend_start LIMIT 1",
		"ORDER BY backend_start DESC LIMIT 1",
		"",
	} {
		l.goesOn(t)
		server.Exec(t, one+condition, pgtest.Name(t, dsn))
	}
	for range 5 {
		server.CutConnections(t, pgtest.Name(t, dsn))
		l.goesOn(t)
	}
	wantKept(t, dsn, l.end(), stores...)
}

// TestAttack22_ACommitThatWasLost cuts the connection during a commit, before or after the server has carried it out.
func TestAttack22_ACommitThatWasLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		lose fault
		made uint64
	}{{"before the server got it", loseCommit, 0}, {"before its answer arrived", loseAnswer, 3}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, dsn := newProxy(t, pgtest.Database(t))
			wait := make(chan struct{})
			opts := Options{}
			opts.hooks.BeforeTake = func() { <-wait }
			s := openAt(t, dsn, opts)
			other := openAt(t, dsn, Options{})
			answers := make(chan error)
			for _, id := range []string{"a", "b", "c"} {
				go func() {
					_, _, err := s.Create(context.Background(), testKey(id))
					answers <- err
				}()
			}
			eventually(t, "the changes wait", func() bool { return s.group.Waiting() == 3 })
			p.failCommit(tt.lose)
			close(wait)
			for range 3 {
				err := <-answers
				wantReason(t, err, core.Unavailable)
				wantUnknown(t, err)
			}
			// A change that was tried again would be made now, or refused because it is there.
			for _, s := range []*Store{s, other} {
				eventually(t, "what was made is applied", func() bool { return s.positions.Applied() == tt.made })
			}
			create(t, s, "d")
			if page, err := s.Events(t.Context(), 0, 10); err != nil || uint64(len(page.Events)) != tt.made+1 {
				t.Errorf("the feed has %d events (%v), want %d", len(page.Events), err, tt.made+1)
			}
			wantSound(t, dsn)
		})
	}
}

// wantUnknown checks that an error tells the caller that the change may have been made.
func wantUnknown(t *testing.T, err error) {
	t.Helper()
	e := new(core.Error)
	if err == nil || !errors.As(err, &e) || !strings.Contains(e.Message, "whether the change was made is not known") {
		t.Errorf("the caller is not told that the outcome is unknown: %v", err)
	}
}

func TestAttack22_AServerThatDoesNotAnswerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	logs, seen := observer.New(zap.InfoLevel)
	direct := pgtest.Database(t)
	p, dsn := newProxy(t, direct)
	s := openAt(t, dsn, Options{Logger: zap.New(logs), commitTimeout: 300 * time.Millisecond})
	other := openAt(t, direct, Options{})
	create(t, s, "before")

	p.holdAll()
	held := time.Now().UnixNano()
	const changes = 20
	answers := make(chan error)
	for range changes {
		go func() {
			_, _, err := s.Create(context.Background(), testKey("during"))
			answers <- err
		}()
	}
	for range changes {
		wantReason(t, <-answers, core.DeadlineExceeded)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Get(ctx, core.NetworkID{}, "before")
	wantReason(t, err, core.DeadlineExceeded)
	eventually(t, "the watcher says that it fails", func() bool {
		return seen.FilterMessage("watching the database for changes fails").Len() == 1
	})
	if s.positions.CompleteAt() > held {
		t.Error("it says that it is complete while it cannot know")
	}
	eventually(t, "what is in memory is used while polls fail", func() bool {
		now := time.Now()
		return s.positions.Current(now.Sub(feed.Epoch), now.UnixNano())
	})

	must(t, revoke(t.Context(), other, "before"))
	p.pass()
	eventually(t, "the revocation is applied", func() bool { return slotOf(s, "before") > 1 })
	eventually(t, "it is complete again", func() bool { return s.positions.CompleteAt() > held })
	eventuallyWorks(t, "changes are made again", func() error {
		_, _, err := s.Create(t.Context(), testKey("after"))
		return err
	})
	wantSound(t, direct)
}

func TestAttack22_ACommitWhoseAnswerDoesNotComeIsUnknown(t *testing.T) {
	t.Parallel()
	direct := pgtest.Database(t)
	p, dsn := newProxy(t, direct)
	s := openAt(t, dsn, Options{commitTimeout: 300 * time.Millisecond})
	create(t, s, "before")
	p.failCommit(holdAnswer)
	_, _, err := s.Create(t.Context(), testKey("during"))
	wantReason(t, err, core.DeadlineExceeded)
	wantUnknown(t, err)
	p.pass()
	eventually(t, "it was made, once", func() bool { return slotOf(s, "during") == 2 })
	eventuallyWorks(t, "changes are made again", func() error { return revoke(t.Context(), s, "before") })
	wantSound(t, direct)
}
