package verify

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// waitFor makes look-ups wait for a channel to close, or for their context.
func waitFor(gate <-chan struct{}) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestIdenticalCredentialsShareOneLookUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		gate := make(chan struct{})
		source.enter = waitFor(gate)
		v := newVerifier(t, Config{}, source)
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				r, err := v.Verify(t.Context(), networkA, "key:a", Use)
				if err != nil || r.Verdict.Code != core.CodeValid {
					t.Errorf("got %v, %v", r.Verdict, err)
				}
			})
		}
		synctest.Wait()
		close(gate)
		callers.Wait()
		if n := source.lookups.Load(); n != 1 {
			t.Errorf("%d look-ups, want 1", n)
		}
		if s := v.Stats(); s.Requests[Miss] != 1 || s.Requests[Coalesced] != 99 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestACallersCancellationFreesOnlyThatCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		gate := make(chan struct{})
		source.enter = waitFor(gate)
		v := newVerifier(t, Config{}, source)
		first, cancel := context.WithCancel(t.Context())
		gone, stayed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := v.Verify(first, networkA, "key:a", Use)
			gone <- err
		}()
		synctest.Wait()
		go func() {
			_, err := v.Verify(t.Context(), networkA, "key:a", Use)
			stayed <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; core.ReasonOf(err) != core.DeadlineExceeded || !errors.Is(err, context.Canceled) {
			t.Errorf("the caller who went away got %v", err)
		}
		close(gate)
		if err := <-stayed; err != nil {
			t.Errorf("the caller who stayed got %v", err)
		}
		v.written()
		want(t, v, "key:a", core.CodeValid, Hit)
	})
}

func TestAttack02_NetworksAndVerifiersShareNothing(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a")
	v := newVerifier(t, Config{}, source)
	want(t, v, "key:a", core.CodeValid, Miss)
	r, err := v.Verify(t.Context(), networkB, "key:a", Use)
	if err != nil || r.Verdict.Code != core.CodeNotFound || r.Verdict.Network != networkB || r.Cache != Miss {
		t.Errorf("the other network got %v from %s, %v", r.Verdict, r.Cache, err)
	}
	other := newVerifier(t, Config{}, newFakeSource())
	want(t, other, "key:a", core.CodeNotFound, Miss)
	if v.hash.of(networkA, "key:a") == other.hash.of(networkA, "key:a") {
		t.Error("two verifiers make the same digest")
	}
}

func TestAttack03_NoTwoPairsMakeTheSameDigest(t *testing.T) {
	t.Parallel()
	h := newHasher()
	seen := make(map[digest]string)
	token := strings.Repeat("t", 600)
	for i := range len(token) {
		for _, n := range []core.NetworkID{{}, networkA, networkB} {
			short := token[:i]
			for _, c := range []string{short, short + "\x00", string(n[:]) + short, short + string(n[:])} {
				name := fmt.Sprintf("%s %q", n, c)
				if other, taken := seen[h.of(n, c)]; taken && other != name {
					t.Fatalf("%s and %s make the same digest", name, other)
				}
				seen[h.of(n, c)] = name
			}
		}
	}
}

func TestAttack06_AFailureIsNeverCachedAndNeverInvalid(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a")
	v := newVerifier(t, Config{}, source)
	for _, failure := range []error{
		errDown, context.DeadlineExceeded, core.NewError(core.Internal, "x"), core.NewError(core.KeyNotFound, "x"),
		core.NewError(core.TooManyRequests, "x"),
	} {
		source.setFailure(failure)
		if err := wantUnavailable(t, v, "key:a"); !errors.Is(err, failure) {
			t.Errorf("%v does not wrap %v", err, failure)
		}
	}
	source.setFailure(core.NewError(core.DeadlineExceeded, "slow"))
	if _, err := ask(t, v, "key:a"); core.ReasonOf(err) != core.DeadlineExceeded {
		t.Errorf("the source's own reason became %v", err)
	}
	source.setFailure(nil)
	want(t, v, "key:a", core.CodeValid, Miss)
}

func TestAPanicOfTheSourceReachesEveryWaiterAsAnError(t *testing.T) {
	t.Parallel()
	for name, blow := range map[string]func(){
		"panic":  func() { panic("key:a is secret") },
		"goexit": runtime.Goexit,
	} {
		synctest.Test(t, func(t *testing.T) {
			source := newFakeSource("a")
			gate := make(chan struct{})
			source.enter = func(context.Context, string) error { <-gate; blow(); return nil }
			v := newVerifier(t, setup{Config{}, Limits{Calls: 1}}, source)
			errs := make(chan error, 3)
			for range 3 {
				go func() {
					_, err := v.Verify(t.Context(), networkA, "key:a", Use)
					errs <- err
				}()
			}
			synctest.Wait()
			close(gate)
			for range 3 {
				err := <-errs
				if core.ReasonOf(err) != core.Unavailable || err == nil {
					t.Errorf("%s: got %v", name, err)
				} else if strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: the error tells what the panic said: %v", name, err)
				}
			}
			source.set(func(s *fakeSource) { s.enter = nil })
			want(t, v, "key:a", core.CodeValid, Miss) // the turn was given back
			for _, r := range blown(t, v, source, blow) {
				if core.ReasonOf(r.Err) != core.Unavailable {
					t.Errorf("%s in a batch: got %v", name, r.Err)
				}
			}
		})
	}
}

// blown is a batch whose look-up panics.
func blown(t *testing.T, v *Verifier, source *fakeSource, blow func()) []Result {
	t.Helper()
	source.set(func(s *fakeSource) { s.enter = func(context.Context, string) error { blow(); return nil } })
	return v.VerifyMany(t.Context(), networkA, []string{"key:x", "key:y"}, Use)
}

func TestASourceThatHangsHoldsNobodyBeyondTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		gate := make(chan struct{})
		source.enter = func(context.Context, string) error { <-gate; return nil } // does not heed its context
		v := newVerifier(t, Config{LookupTimeout: 2 * time.Second}, source)
		start := time.Now()
		_ = wantUnavailable(t, v, "key:a")
		if waited := time.Since(start); waited != 2*time.Second {
			t.Errorf("waited %s, want 2s", waited)
		}
		if n := v.Stats().Calls; n != 1 {
			t.Errorf("%d look-ups are under way instead of the one that hangs", n)
		}
		source.set(func(s *fakeSource) { s.enter = nil })
		want(t, v, "key:a", core.CodeValid, Miss) // a new request does not join it
		close(gate)
	})
}

func TestAttack08_LookUpsInFlightAreBoundedAndSoIsTheirQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource()
		gate := make(chan struct{})
		var inside, most atomic.Int64
		source.enter = func(ctx context.Context, c string) error {
			most.Store(max(most.Load(), inside.Add(1)))
			defer inside.Add(-1)
			return waitFor(gate)(ctx, c)
		}
		v := newVerifier(t, setup{Config{MaxWaiting: 6}, Limits{Calls: 4}}, source)
		var callers sync.WaitGroup
		var refused atomic.Int64
		for i := range 50 {
			callers.Go(func() {
				if _, err := v.Verify(t.Context(), networkA, fmt.Sprint("key:", i), Use); err != nil {
					if core.ReasonOf(err) != core.Unavailable {
						t.Errorf("got %v", err)
					}
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		if refused.Load() != 40 || v.Stats().Calls != 4 || v.Stats().Waiting != 6 {
			t.Errorf("%d refused, stats %+v, want 40, 4 calls and 6 that wait", refused.Load(), v.Stats())
		}
		close(gate)
		callers.Wait()
		if most.Load() != 4 || refused.Load() != 40 {
			t.Errorf("%d look-ups at once, %d refused, want 4 and 40", most.Load(), refused.Load())
		}
	})
}

func TestALookUpThatWaitsForItsTurnTooLongFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a", "b")
		gate := make(chan struct{})
		source.enter = func(context.Context, string) error { <-gate; return nil }
		v := newVerifier(t, setup{Config{LookupTimeout: time.Second}, Limits{Calls: 1}}, source)
		var callers sync.WaitGroup
		for _, c := range []string{"key:a", "key:b"} {
			callers.Go(func() {
				if _, err := v.Verify(t.Context(), networkA, c, Use); core.ReasonOf(err) != core.Unavailable {
					t.Errorf("got %v", err)
				}
			})
		}
		callers.Wait()
		if n := source.lookups.Load(); n != 1 {
			t.Errorf("%d look-ups, want 1", n)
		}
		close(gate)
	})
}

func TestAnAnswerThatCannotBeTheAnswerFailsClosed(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]*core.Verdict{
		"no verdict":      nil,
		"another network": {Network: networkB, KeyID: "a", Status: core.StatusActive},
		"another key":     {Network: networkA, KeyID: "b", Status: core.StatusActive},
		"no key":          {Network: networkA, Status: core.StatusActive},
	} {
		source := newFakeSource("a")
		source.leave = func(string, *core.Verdict) (*core.Verdict, error) { return answer, nil }
		v := newVerifier(t, Config{}, source)
		if err := wantUnavailable(t, v, "key:a"); strings.Contains(err.Error(), "key:a") {
			t.Errorf("%s: the error names the credential: %v", name, err)
		}
	}
}

func TestAVerdictThatIsAboutARequestOrUnknownIsNotCached(t *testing.T) {
	t.Parallel()
	for _, code := range []core.Code{core.CodeInternal, core.CodeIPNotAllowed, core.CodeScopeMissing, 200} {
		source := newFakeSource("a")
		source.leave = func(_ string, v *core.Verdict) (*core.Verdict, error) {
			return &core.Verdict{Network: v.Network, KeyID: v.KeyID, Code: code}, nil
		}
		v := newVerifier(t, Config{}, source)
		want(t, v, "key:a", code, Miss)
		want(t, v, "key:a", code, Miss)
	}
}
