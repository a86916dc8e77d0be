package policy_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/policy"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

// counter is a limiter that says what it is told to and remembers whom it was asked about.
type counter struct {
	result ratelimit.Result
	err    error
	asked  []string
}

func (c *counter) Take(
	_ context.Context, n core.NetworkID, keyID string, p core.RateLimitPolicy,
) (ratelimit.Result, error) {
	c.asked = append(c.asked, n.String()+" "+keyID+" "+p.Window.String())
	return c.result, c.err
}

func (c *counter) Close() error { return nil }

func limited(change func(v *core.Verdict)) *core.Verdict {
	return verdict(func(v *core.Verdict) {
		v.RateLimit = core.RateLimitPolicy{Quota: 2, Window: time.Minute}
		if change != nil {
			change(v)
		}
	})
}

func TestDecideCountsWhatMayPassAndNothingElse(t *testing.T) {
	t.Parallel()
	scope := &policy.Rules{Scopes: []string{"admin"}}
	for name, c := range map[string]struct {
		verdict *core.Verdict
		rules   *policy.Rules
		limiter bool
		want    core.Code
		counted bool
	}{
		"a good key":        {limited(nil), nil, true, core.CodeValid, true},
		"without a policy":  {verdict(nil), nil, true, core.CodeValid, false},
		"without a limiter": {limited(nil), nil, false, core.CodeValid, false},
		"no verdict":        {nil, nil, true, core.CodeInternal, false},
		"a missing scope":   {limited(nil), scope, true, core.CodeScopeMissing, false},
		"another visibility": {
			limited(nil), &policy.Rules{Visibility: policy.Public}, true, core.CodeVisibilityDenied, false,
		},
		"expired": {
			limited(func(v *core.Verdict) { v.ExpireTime = now }), nil, true, core.CodeExpired, false,
		},
		"revoked": {
			limited(func(v *core.Verdict) { v.Code = core.CodeRevoked }), nil, true, core.CodeRevoked, false,
		},
		"another address": {limited(func(v *core.Verdict) {
			v.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}), nil, true, core.CodeIPNotAllowed, false},
	} {
		l := &counter{result: ratelimit.Result{Allowed: true, Remaining: 1}}
		var limiter ratelimit.Limiter
		if c.limiter {
			limiter = l
		}
		d := policy.Decide(t.Context(), c.verdict, policy.Request{Now: now, Client: client}, c.rules, limiter)
		if d.Code != c.want || d.Counted != c.counted || len(l.asked) > 0 != c.counted || d.LimitErr != nil {
			t.Errorf("%s: %+v, asked %q", name, d, l.asked)
		}
	}
}

func TestAttack01_ALimitIsCountedOnEveryUseOfAVerdict(t *testing.T) {
	t.Parallel()
	m, err := ratelimit.NewMemory(0)
	if err != nil {
		t.Fatal(err)
	}
	v := limited(nil)
	for i, want := range []core.Code{core.CodeValid, core.CodeValid, core.CodeRateLimited, core.CodeRateLimited} {
		d := policy.Decide(t.Context(), v, policy.Request{Now: now, Client: client}, nil, m)
		if d.Code != want || !d.Counted || (d.Limit.RetryAfter > 0) != (want == core.CodeRateLimited) {
			t.Errorf("use %d: %+v, want %d", i+1, d, want)
		}
	}
}

func TestDecideLetsThroughWhenNothingCanBeSaid(t *testing.T) {
	t.Parallel()
	away := errors.New("connection refused")
	d := policy.Decide(t.Context(), limited(nil), policy.Request{Now: now, Client: client}, nil, &counter{err: away})
	if d.Code != core.CodeValid || d.Counted || !errors.Is(d.LimitErr, away) {
		t.Errorf("%+v", d)
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	m, err := ratelimit.NewMemory(0)
	if err != nil {
		t.Fatal(err)
	}
	v := limited(func(v *core.Verdict) {
		v.KeyID = "6f3cbd64-3f0b-4d7e-9f5e-0c6a5a6b7c8d"
		v.RateLimit.Quota = 1 << 30
	})
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		policy.Decide(ctx, v, policy.Request{Now: now, Client: client}, nil, m)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestATokensLeewayHoldsOnEachUse(t *testing.T) {
	t.Parallel()
	v := verdict(func(v *core.Verdict) { v.ExpireTime, v.Leeway = now, time.Minute })
	for after, want := range map[time.Duration]core.Code{
		-1: core.CodeValid, 0: core.CodeValid, time.Minute - 1: core.CodeValid, time.Minute: core.CodeExpired,
	} {
		if got := policy.Judge(v, policy.Request{Now: now.Add(after), Client: client}, nil); got != want {
			t.Errorf("%v after its expiry: %d, want %d", after, got, want)
		}
	}
}
