package verify

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

func TestAttack08_LateCallsDoNotKeepARevokedKeyAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := farSource(roundTrip, keyOf(0))
		// It hangs on unknown keys, and on nothing else.
		s.enter = func(ctx context.Context, credential string) error {
			if strings.Contains(credential, "unknown") {
				return waitFor(nil)(ctx, credential)
			}
			return nil
		}
		c := Config{TTL: 10 * time.Second, LookupTimeout: 2 * time.Second}
		v := newVerifier(t, setup{c, Limits{Calls: 4, Items: 1}}, s)
		known := keepKnown(t, v, 1)[0]
		s.revokeUnseen(networkA, keyOf(0))
		var unknown sync.WaitGroup
		defer unknown.Wait()
		for w := range 3 { // a call is late every two thirds of a second
			unknown.Go(func() {
				time.Sleep(time.Duration(w) * 2 * time.Second / 3)
				for i := range 20 {
					_, _ = v.Verify(t.Context(), networkA, fmt.Sprintf("key:unknown-%d-%d", w, i), Use)
				}
			})
		}
		time.Sleep(12 * time.Second) // past the key's lifetime
		for range 10 {
			if _, err := v.Verify(t.Context(), networkA, known, Use); err != nil {
				t.Errorf("got %v", err)
			}
			time.Sleep(roundTrip)
		}
		if r, err := v.Verify(t.Context(), networkA, known, Use); err != nil || r.Verdict.Code != core.CodeRevoked {
			t.Errorf("got %+v from %s, %v, want revoked", r.Verdict, r.Cache, err)
		}
	})
}

func TestALookUpWhoseTimeEndsLeavesTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := farSource(roundTrip, keyOf(0))
		c := Config{TTL: time.Second, LookupTimeout: time.Second, StaleIfError: -1}
		v := newVerifier(t, setup{c, Limits{Calls: 1}}, s)
		known := keepKnown(t, v, 1)[0]
		time.Sleep(2 * time.Second) // past its lifetime
		var batch []*lookup
		first := asking(t, v, "key:first", someone)
		v.call = func(b []*lookup) { batch = b } // the next call has not ended yet
		answers := []<-chan asked{asking(t, v, known, someone), asking(t, v, unknownKey(0), someone)}
		<-first
		synctest.Wait()
		throttled := LookupResult{Err: errModelThrottled}
		v.mu.Lock()
		v.queue.known.Slower(time.Now(), nil)
		v.mu.Unlock()
		v.returned(&call{batch: batch, results: []LookupResult{throttled, throttled}, throttled: throttled.Err})
		v.fail(batch, context.DeadlineExceeded) // the deadline of that call, at the same time
		for _, answer := range answers {
			if a := <-answer; a.err == nil {
				t.Error("a look-up was answered")
			}
		}
		if n := v.Stats().Waiting; n != 0 {
			t.Errorf("%d look-ups wait whose callers have been answered", n)
		}
	})
}
