package verify

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const bound = 50 * time.Millisecond

// TestAttack05_APausedProcessCatchesUpBeforeItAnswers lets another process revoke a key while this one is
// paused: nothing polls, and the clocks go on. Each way to an answer is met: hits, a batch, a look-up under way.
func TestAttack05_APausedProcessCatchesUpBeforeItAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a", "b")
		v := newVerifier(t, Config{}, source)
		source.positions.Renew(time.Now().Add(bound))
		want(t, v, "key:a", core.CodeValid, Miss)
		want(t, v, "key:a", core.CodeValid, Hit)
		gate := make(chan struct{})
		source.set(func(s *fakeSource) {
			s.leave = func(_ string, verdict *core.Verdict) (*core.Verdict, error) {
				<-gate // read before the pause, and answered after it
				return verdict, nil
			}
		})
		early := make(chan Result, 1)
		go func() {
			r, _ := v.Verify(t.Context(), networkA, "key:b", Use)
			early <- r
		}()
		synctest.Wait()

		time.Sleep(time.Second) // the pause
		source.revokeUnseen(networkA, "a")
		source.revokeUnseen(networkA, "b")
		source.set(func(s *fakeSource) { s.leave = nil })
		if r, ok := v.Cached(networkA, "key:a"); ok {
			t.Errorf("memory answered %+v", r.Verdict)
		}
		var answered sync.WaitGroup
		judge := func(who string, r Result) {
			if r.Err != nil || r.Verdict.Code != core.CodeRevoked {
				t.Errorf("%s: got %+v, %v", who, r.Verdict, r.Err)
			}
		}
		for _, credential := range []string{"key:a", "key:b"} {
			answered.Go(func() {
				r, _ := v.Verify(t.Context(), networkA, credential, Use)
				judge(credential, r)
			})
		}
		answered.Go(func() {
			for i, r := range v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:b"}, Use) {
				judge([]string{"a in a batch", "b in a batch"}[i], r)
			}
		})
		synctest.Wait()
		// A poll that began before the pause ends: it says nothing of what came since.
		source.positions.Renew(time.Now().Add(bound - time.Second))
		synctest.Wait()
		close(gate)
		source.positions.Apply(
			feed.Event{Position: 3, Network: networkA, KeyID: "a", Kind: feed.EventRevoked},
			feed.Event{Position: 4, Network: networkA, KeyID: "b", Kind: feed.EventRevoked})
		source.positions.Renew(time.Now().Add(bound))
		answered.Wait()
		<-early // began before the pause, and may have either answer
	})
}

func TestARequestWaitsForAPollForALimitedTimeAndThenNobodyCanSay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{}, source)
		source.positions.Renew(time.Now().Add(bound))
		want(t, v, "key:a", core.CodeValid, Miss)
		time.Sleep(bound)
		began := time.Now()
		_ = wantUnavailable(t, v, "key:a")
		if since := time.Since(began); since != v.config.LookupTimeout {
			t.Errorf("waited for %v", since)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r := v.VerifyMany(ctx, networkA, []string{"key:a"}, Use)[0]; core.ReasonOf(r.Err) != core.Unavailable {
			t.Errorf("the batch: %+v", r)
		}
		if r, err := v.Verify(t.Context(), networkA, "key:a", NoCache); err != nil || r.Verdict.Code != core.CodeValid {
			t.Errorf("without the cache: %+v, %v", r, err)
		}
		source.positions.Renew(time.Now().Add(bound))
		want(t, v, "key:a", core.CodeValid, Hit)

		reason := core.NewError(core.Unavailable, "the file was replaced")
		source.positions.Withdraw(reason)
		if err := wantUnavailable(t, v, "key:a"); !errors.Is(err, reason) {
			t.Errorf("got %v", err)
		}
		source.positions.Renew(time.Now().Add(bound))
		want(t, v, "key:a", core.CodeValid, Hit)

		time.Sleep(bound)
		closed := make(chan error, 1)
		go func() {
			_, err := v.Verify(context.Background(), networkA, "key:a", Use)
			closed <- err
		}()
		synctest.Wait()
		v.Close()
		if err := <-closed; !errors.Is(err, ErrClosed) {
			t.Errorf("closed while it waited: %v", err)
		}
	})
}

// TestAPollThatTakesLongerThanItsLeaseTurnsNoHitIntoALookUp has a poll end after the lease that it gives, as on a
// machine that is overloaded. Whoever began before its lease ends may rely on it.
func TestAPollThatTakesLongerThanItsLeaseTurnsNoHitIntoALookUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{}, source)
		source.positions.Renew(time.Now().Add(bound))
		want(t, v, "key:a", core.CodeValid, Miss)
		time.Sleep(bound)
		began := time.Now()
		time.AfterFunc(2*bound, func() { source.positions.Renew(began.Add(bound)) })
		want(t, v, "key:a", core.CodeValid, Hit)
		time.AfterFunc(2*bound, func() { source.positions.Renew(time.Now().Add(-bound)) })
		if r := v.VerifyMany(t.Context(), networkA, []string{"key:a"}, Use)[0]; r.Err != nil || r.Cache != Hit {
			t.Errorf("in a batch: %+v", r)
		}
	})
}
