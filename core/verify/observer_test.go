package verify

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// told notes what an observer is notified of.
type told struct {
	mu     sync.Mutex
	events []string
}

// SourceAnswered notes an answer.
func (o *told) SourceAnswered() { o.note("answered") }

// SourceFailed notes a failure.
func (o *told) SourceFailed(err error) { o.note(err.Error()) }

// ChangesUnknown notes that changes are not known.
func (o *told) ChangesUnknown(err error) { o.note("changes unknown: " + err.Error()) }

// note takes a moment, in which those who are told too early have their answers.
func (o *told) note(event string) {
	time.Sleep(time.Millisecond)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, event)
}

// wants compares the notifications since the last time.
func (o *told) wants(t *testing.T, when string, want ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Equal(o.events, want) {
		t.Errorf("%s: told %q, want %q", when, o.events, want)
	}
	o.events = nil
}

func TestAnObserverIsNotifiedOfEachCallAndOfNoHit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, o := newFakeSource("a"), new(told)
		v := newVerifier(t, Config{Observer: o}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		o.wants(t, "a miss", "answered")
		want(t, v, "key:a", core.CodeValid, Hit)
		o.wants(t, "a hit")
		want(t, v, "key:unknown", core.CodeNotFound, Miss)
		o.wants(t, "that there is no such key is an answer", "answered")
	})
}

func TestAnObserverIsNotifiedOfAFailureBeforeWhoeverWaitsForTheAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, o := newFakeSource("a"), new(told)
		v := newVerifier(t, Config{Observer: o}, source)
		source.setFailure(errDown)
		_ = wantUnavailable(t, v, "key:a")
		o.wants(t, "the source fails", errDown.Error())
	})
}

func TestAnObserverIsNotifiedWhenNobodyKnowsWhichKeysHaveChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, o := newFakeSource("a"), new(told)
		v := newVerifier(t, Config{Observer: o}, source)
		source.positions.Withdraw(errors.New("the file was replaced"))
		_ = wantUnavailable(t, v, "key:a")
		o.wants(t, "withdrawn", "changes unknown: the file was replaced")
		source.positions.Renew(time.Now().Add(time.Hour))
		want(t, v, "key:a", core.CodeValid, Miss)
		o.wants(t, "renewed", "answered")
	})
}

func TestAnObserverIsToldNothingOfARefreshThatTheVerifierHasCutShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, o := newFakeSource("a"), new(told)
		v := newVerifier(t, Config{Observer: o, TTL: time.Minute}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		o.wants(t, "a miss", "answered")
		source.set(func(s *fakeSource) { s.trip = time.Hour })
		time.Sleep(53 * time.Second) // whatever the jitter is, the last fifth of the lifetime has begun
		want(t, v, "key:a", core.CodeValid, Hit)
		synctest.Wait()
		if n := len(source.made()); n != 1 {
			t.Errorf("%d calls are under way", n)
		}
		v.Close()
		o.wants(t, "closed")
	})
}

func TestAnObserverIsToldThatChangesAreUnknownOnlyWhenTheTimeIsOver(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ends func(caller context.CancelFunc, v *Verifier) // nil: nobody ends the wait
		want []string
	}{
		"the caller goes away":   {ends: func(caller context.CancelFunc, _ *Verifier) { caller() }},
		"the verifier is closed": {ends: func(_ context.CancelFunc, v *Verifier) { v.Close() }},
		"the time is over":       {want: []string{"changes unknown: " + context.DeadlineExceeded.Error()}},
	} {
		synctest.Test(t, func(t *testing.T) {
			source, o := newFakeSource("a"), new(told)
			v := newVerifier(t, Config{Observer: o}, source)
			source.positions.Renew(time.Now())
			time.Sleep(time.Second)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.ends != nil {
				time.AfterFunc(time.Millisecond, func() { tc.ends(cancel, v) })
			}
			if r, err := v.Verify(ctx, networkA, "key:a", Use); err == nil {
				t.Errorf("%s: got %+v", name, r)
			}
			o.wants(t, name, tc.want...)
		})
	}
}
