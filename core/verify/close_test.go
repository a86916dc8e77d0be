package verify

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

func TestAClosedVerifierAnswersNothing(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a")
	v := newVerifier(t, Config{}, source)
	want(t, v, "key:a", core.CodeValid, Miss)
	want(t, v, "key:a", core.CodeValid, Hit)
	v.Close()
	v.Close()
	for _, credential := range []string{"key:a", "key:b", "forged"} {
		for _, mode := range []Mode{Use, NoCache, NoStore} {
			r, err := v.Verify(t.Context(), networkA, credential, mode)
			if !errors.Is(err, ErrClosed) || core.ReasonOf(err) != core.Unavailable || r.Verdict != nil {
				t.Errorf("%s, mode %d: got %v, %v", credential, mode, r.Verdict, err)
			}
		}
	}
	for _, r := range v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:b"}, Use) {
		if !errors.Is(r.Err, ErrClosed) {
			t.Errorf("in a batch: %v", r.Err)
		}
	}
	_ = v.Stats()
}

func TestCloseWaitsForTheLookUpsThatCallersWaitFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		gate := make(chan struct{})
		source.enter = waitFor(gate)
		v := newVerifier(t, Config{}, source)
		var all sync.WaitGroup
		all.Go(func() {
			if r, err := v.Verify(t.Context(), networkA, "key:a", Use); err != nil || r.Verdict.Code != core.CodeValid {
				t.Errorf("got %v, %v", r.Verdict, err)
			}
		})
		synctest.Wait()
		closed := make(chan struct{})
		all.Go(func() { v.Close(); close(closed) })
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed with a look-up in flight")
		default:
		}
		if _, err := v.Verify(t.Context(), networkA, "key:a", Use); !errors.Is(err, ErrClosed) {
			t.Errorf("a request meanwhile got %v", err)
		}
		close(gate)
		all.Wait()
	})
}

func TestCloseCutsARefreshShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{TTL: 100 * time.Second, LookupTimeout: time.Hour}, source)
		ttl := cacheKeyA(t, v)
		source.set(func(s *fakeSource) { s.enter = waitFor(nil) })
		time.Sleep(ttl - time.Second)
		want(t, v, "key:a", core.CodeValid, Hit)
		synctest.Wait()
		if n := v.Stats().Calls; n != 1 {
			t.Fatalf("%d look-ups in flight, want 1", n)
		}
		start := time.Now()
		v.Close()
		if d := time.Since(start); d != 0 {
			t.Errorf("close took %s", d)
		}
	})
}

func TestTheCacheDoesNotEndUnderAReader(t *testing.T) {
	t.Parallel()
	c, err := newCache(minBytes)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.RLock()
	var returned atomic.Bool
	go func() {
		for range 1000 {
			runtime.Gosched()
		}
		returned.Store(true)
		c.mu.RUnlock()
	}()
	c.close()
	if !returned.Load() {
		t.Error("the cache ended while it was read")
	}
}

func TestCloseMayMeetAnyRequest(t *testing.T) {
	t.Parallel()
	for range 20 {
		source := newFakeSource()
		for i := range 200 {
			source.create(networkA, keyOf(i))
		}
		v := newVerifier(t, Config{}, source)
		ctx := context.Background()
		var all sync.WaitGroup
		ready := make(chan struct{}, 4)
		for w := range 4 {
			all.Go(func() {
				for n := w; ; n++ {
					if n == w+150 {
						ready <- struct{}{}
					}
					r, err := v.Verify(ctx, networkA, "key:"+keyOf(n%200), Use)
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil || r.Verdict.Code != core.CodeValid {
						t.Errorf("got %v, %v", r.Verdict, err)
						return
					}
				}
			})
		}
		for range 4 {
			<-ready
		}
		v.Close()
		all.Wait()
	}
}

func TestCloseCutsShortARefreshThatIsToBeRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := farSource(roundTrip, keyOf(0))
		v := newVerifier(t, setup{Config{TTL: 10 * time.Second, LookupTimeout: time.Minute}, Limits{Calls: 1}}, s)
		known := keepKnown(t, v, 1)[0]
		time.Sleep(8900 * time.Millisecond) // into the last fifth of its lifetime, whatever it is exactly
		first := asking(t, v, "key:first", someone)
		want(t, v, known, core.CodeValid, Hit)
		unknown := asking(t, v, unknownKey(1), someone)
		<-first
		synctest.Wait()
		s.setFailure(errModelThrottled) // for the call that holds both
		v.mu.Lock()
		for range 9 {
			v.queue.known.Slower(time.Now(), nil)
		}
		v.mu.Unlock()
		start := time.Now()
		v.Close()
		if took := time.Since(start); took > roundTrip {
			t.Errorf("close took %s", took)
		}
		if a := <-unknown; a.err == nil {
			t.Error("the unknown key was answered")
		}
	})
}
