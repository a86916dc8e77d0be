package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestAttack08_TheBreakerOpensAtAHungUpstreamInAnyFlood(t *testing.T) {
	t.Parallel()
	const failures, inFlight = 5, 2
	s := newStandIn()
	s.edge = true
	known, _ := s.add(t, nil)
	counter := new(callCounter)
	u, _ := open(t, func(c *Config) {
		c.Observer = counter
		c.Timeout, c.MaxInFlight = 400*time.Millisecond, inFlight
		c.Breaker = Breaker{Failures: failures, Pause: time.Hour}
	}, serve(t, s, "").URL)
	v := verifying(t, u, verify.Config{TTL: time.Second})
	eventually(t, "the key is good", func() bool {
		r, err := v.Verify(t.Context(), core.NetworkID{}, known, verify.Use)
		return err == nil && r.Verdict.Code == core.CodeValid
	})
	before := len(s.calls(":batchVerify"))
	s.set(func() {
		s.fault = func(_ http.ResponseWriter, r *http.Request, _ []byte) bool { <-r.Context().Done(); return true }
	})
	flood, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	defer callers.Wait()
	defer stop()
	for w := range 200 {
		callers.Go(func() {
			ctx := verify.WithClient(flood, netip.AddrFrom4([4]byte{192, 0, 2, byte(w)}))
			for i := 0; flood.Err() == nil && i < 1_000_000; i++ {
				_, err := v.Verify(ctx, core.NetworkID{}, fmt.Sprintf("made-up-%d-%d", w, i), verify.Use)
				if err == nil {
					t.Error("a caller with an unknown credential is answered")
				}
				if u.Admit() != nil {
					return // nothing but errors from here on
				}
			}
		})
	}
	eventually(t, "the breaker opens", func() bool { return u.Breakers()[0].State == "open" })
	callers.Wait()
	calls := len(s.calls(":batchVerify")) - before
	if calls > failures+inFlight {
		t.Errorf("%d calls were made until the breaker opened after %d failures", calls, failures)
	}
	if n := counter.all()[ResultCanceled]; n > inFlight {
		t.Errorf("%d calls were nobody's failure", n)
	}
	eventually(t, "the key's lifetime is over", func() bool {
		r, err := v.Verify(t.Context(), core.NetworkID{}, known, verify.Use)
		if err != nil || r.Verdict.Code != core.CodeValid {
			t.Fatalf("the known key got %v, %v", r.Verdict, err)
		}
		return r.Cache == verify.Stale
	})
	if more := len(s.calls(":batchVerify")) - before - calls; more > 0 {
		t.Errorf("the known key waited for %d calls", more)
	}
}
