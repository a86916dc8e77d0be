package sidecar

import (
	"context"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// slowUpstream verifies for an address after a while.
type slowUpstream struct {
	Remote
	takes time.Duration

	mu         sync.Mutex
	out, most  int
	asked      int
	unanswered int
}

func (f *slowUpstream) count(out, unanswered int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out += out
	f.most = max(f.most, f.out)
	f.asked += max(out, 0)
	f.unanswered += unanswered
}

func (f *slowUpstream) VerifyFor(
	ctx context.Context, network core.NetworkID, cred string, addr netip.Addr,
) (*core.Verdict, error) {
	f.count(1, 0)
	defer f.count(-1, 0)
	select {
	case <-time.After(f.takes):
		return &core.Verdict{Network: network, KeyID: cred, ActorID: addr.String()}, nil
	case <-ctx.Done():
		f.count(0, 1)
		return nil, core.WrapError(core.Unavailable, "late", ctx.Err())
	}
}

// fixedVerifier has judged every other credential by the sidecar's own address.
type fixedVerifier struct{ adminapi.Verifier }

func (fixedVerifier) VerifyMany(_ context.Context, _ core.NetworkID, creds []string, _ verify.Mode) []verify.Result {
	results := make([]verify.Result, len(creds))
	for i := range results {
		results[i] = verify.Result{Verdict: &core.Verdict{KeyID: "known"}}
		if i%2 == 0 {
			results[i].Verdict = &core.Verdict{KeyID: creds[i], Code: core.CodeIPNotAllowed}
		}
	}
	return results
}

// verified verifies a batch of a hundred, half of which has to be asked again.
func verified(t *testing.T, upstream *slowUpstream) (results []verify.Result, took time.Duration) {
	t.Helper()
	credentials := make([]string, client.MaxBatch)
	for i := range credentials {
		credentials[i] = strconv.Itoa(i)
	}
	v := verifier{fixedVerifier{}, upstream}
	start := time.Now()
	ctx := verify.WithClient(t.Context(), netip.MustParseAddr("192.0.2.7"))
	results = v.VerifyMany(ctx, core.NetworkID{}, credentials, verify.Use)
	if upstream.asked != client.MaxBatch/2 {
		t.Errorf("%d were asked", upstream.asked)
	}
	return results, time.Since(start)
}

func TestWhatABatchAsksAgainIsAskedSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		upstream := &slowUpstream{takes: 100 * time.Millisecond}
		results, took := verified(t, upstream)
		if took != 400*time.Millisecond || upstream.most != maxAgain { // 50 of them, 16 at once
			t.Errorf("it took %s, %d at once", took, upstream.most)
		}
		for i, r := range results {
			want := core.Verdict{KeyID: "known"}
			if i%2 == 0 {
				want = core.Verdict{KeyID: strconv.Itoa(i), ActorID: "192.0.2.7"}
			}
			if r.Err != nil || r.Verdict.Code != core.CodeValid || r.Verdict.KeyID != want.KeyID ||
				r.Verdict.ActorID != want.ActorID {
				t.Errorf("result %d: got %+v, %v", i, r.Verdict, r.Err)
			}
		}
	})
}

func TestOneDeadlineHoldsForAllThatABatchAsksAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		upstream := &slowUpstream{takes: time.Hour}
		results, took := verified(t, upstream)
		if took != againTimeout {
			t.Errorf("it took %s", took)
		}
		for i, r := range results {
			if (r.Err != nil) != (i%2 == 0) {
				t.Errorf("result %d: got %+v, %v", i, r.Verdict, r.Err)
			}
		}
	})
}
