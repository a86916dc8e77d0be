package sqlite

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// TestAttack22_EachChangeWaitsForALockSinceItWasAskedFor has changes asked for one after the other while another
// process holds the lock: none waits longer because of those before it, and none shorter.
func TestAttack22_EachChangeWaitsForALockSinceItWasAskedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newDatabase(t).path
		s := openAt(t, path, Options{queue: 2})
		create(t, s, "k")
		lock := outsider(t, path)
		execOn(t, lock, "BEGIN IMMEDIATE")
		type answer struct {
			after time.Duration
			err   error
		}
		answers := make(chan answer, 10)
		for range cap(answers) { // more than wait in the queue: the others are held back before it
			go func() {
				began := time.Now()
				_, err := s.Revoke(context.Background(), core.NetworkID{}, core.Issued, "k",
					core.Revocation{Time: testTime})
				answers <- answer{time.Since(began), err}
			}()
			time.Sleep(300 * time.Millisecond)
		}
		for range cap(answers) {
			a := <-answers
			wantReason(t, a.err, core.Unavailable)
			if a.after != busyTimeout {
				t.Errorf("answered after %v, want %v", a.after, busyTimeout)
			}
		}
		execOn(t, lock, "ROLLBACK")
		create(t, s, "after")
	})
}

func TestAttack22_AChangeIsMadeAsSoonAsTheLockIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newDatabase(t).path
		s := openAt(t, path, Options{})
		lock := outsider(t, path)
		execOn(t, lock, "BEGIN IMMEDIATE")
		time.AfterFunc(busyTimeout-time.Second, func() { execOn(t, lock, "ROLLBACK") })
		began := time.Now()
		create(t, s, "k")
		if since := time.Since(began); since < busyTimeout-time.Second || since >= busyTimeout {
			t.Errorf("made after %v", since)
		}
	})
}

// TestAttack22_AStartOnALockedDatabaseSaysSoAndEnds opens a database that another process has locked.
func TestAttack22_AStartOnALockedDatabaseSaysSoAndEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		within time.Duration // of the caller; 0: no limit
		want   time.Duration
		reason core.Reason
	}{
		{"by its own bound", 0, openWait, core.Unavailable},
		{"with its caller's context", 3 * time.Second, 3 * time.Second, core.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			path := newDatabase(t).path
			if err := openAt(t, path, Options{}).Close(); err != nil {
				t.Fatal(err)
			}
			execOn(t, outsider(t, path), "BEGIN IMMEDIATE")
			ctx := t.Context()
			if tt.within > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.within)
				defer cancel()
			}
			logs, seen := observer.New(zap.InfoLevel)
			began := time.Now()
			_, err := Open(ctx, path, Options{Logger: zap.New(logs)})
			if since := time.Since(began); since != tt.want {
				t.Errorf("%s: it ended after %v, want %v", tt.name, since, tt.want)
			}
			wantReason(t, err, tt.reason)
			if err != nil && !strings.Contains(err.Error(), "end that process or its transaction") {
				t.Errorf("%s: the error does not say what to do: %v", tt.name, err)
			}
			said := seen.FilterMessage("the database is locked by another process; waiting for it").All()
			if len(said) != 1 || said[0].Time.Sub(began) > time.Second+sqlstore.NextLockDelay(time.Hour) {
				t.Fatalf("%s: the log has %v", tt.name, seen.All())
			}
			if left := said[0].ContextMap()["at_most"]; left != tt.want-said[0].Time.Sub(began) {
				t.Errorf("%s: it says that it waits for %v more", tt.name, left)
			}
		})
	}
}

func TestAttack22_AStartGoesOnAsSoonAsTheLockIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newDatabase(t).path
		if err := openAt(t, path, Options{}).Close(); err != nil {
			t.Fatal(err)
		}
		lock := outsider(t, path)
		execOn(t, lock, "BEGIN IMMEDIATE")
		time.AfterFunc(10*time.Second, func() { execOn(t, lock, "ROLLBACK") })
		began := time.Now()
		create(t, openAt(t, path, Options{}), "k")
		latest := 10*time.Second + sqlstore.NextLockDelay(time.Hour)
		if since := time.Since(began); since < 10*time.Second || since > latest {
			t.Errorf("it started after %v", since)
		}
	})
}
