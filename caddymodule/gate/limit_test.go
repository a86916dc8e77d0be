package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

// awayLimiter is a limiter whose counters cannot be reached.
type awayLimiter struct{ asked int }

func (l *awayLimiter) Take(
	context.Context, core.NetworkID, string, core.RateLimitPolicy,
) (ratelimit.Result, error) {
	l.asked++
	return ratelimit.Result{}, errors.New("the counters are away")
}

func (*awayLimiter) Close() error { return nil }

// thrice is a limit of three uses a minute.
var thrice = core.RateLimitPolicy{Quota: 3, Window: time.Minute}

func TestGate_LetsThroughWhatCannotBeCounted(t *testing.T) {
	t.Parallel()
	away := &awayLimiter{}
	v := goodVerdict()
	v.RateLimit = thrice
	g := newTestGate(t, &Gate{}, &fakeAuthority{verdict: v, limits: away}, nil)
	for range 5 {
		w, behind, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k")))
		if err != nil || behind == nil {
			t.Fatalf("refused: %d %v", w.Code, err)
		}
	}
	if away.asked != 5 {
		t.Errorf("%d of 5 uses were counted", away.asked)
	}
}

func TestGate_EarlyDataFromAnAddressThatMattersIsNotCounted(t *testing.T) {
	t.Parallel()
	limiter, err := ratelimit.NewMemory(0)
	if err != nil {
		t.Fatal(err)
	}
	v := goodVerdict()
	v.RateLimit, v.AllowedCIDRs = thrice, cidrs(t, "203.0.113.0/24")
	g := newTestGate(t, &Gate{}, &fakeAuthority{verdict: v, limits: limiter}, nil)
	r := inCaddy(requestWith(t, "Authorization: Bearer k"))
	r.TLS = &tls.ConnectionState{HandshakeComplete: false}
	if _, behind, _ := through(t, g, r); behind != nil || limiter.Len() != 0 {
		t.Errorf("%d keys were counted", limiter.Len())
	}
}

func TestAnUpstreamsOwnLimitTellsNothingOfOurs(t *testing.T) {
	t.Parallel()
	v := &core.Verdict{KeyID: "k", Code: core.CodeRateLimited, RateLimit: thrice}
	g := newTestGate(t, &Gate{}, &fakeAuthority{verdict: v, limits: &awayLimiter{}}, nil)
	w, _, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k")))
	if err != nil || w.Code != http.StatusTooManyRequests {
		t.Errorf("got %d, %v", w.Code, err)
	}
	if got := w.Header().Get("Ratelimit"); got != "" {
		t.Errorf("RateLimit %s", got)
	}
	if got := w.Header().Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After %q", got)
	}
}

// cidrs reads a list of ranges.
func cidrs(t testing.TB, list ...string) []netip.Prefix {
	t.Helper()
	parsed, err := core.ParseCIDRs(list)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
