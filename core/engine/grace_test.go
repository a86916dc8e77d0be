package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/policy"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

func rotate(t *testing.T, e *engine.Engine, keyID string, grace time.Duration) (fresh, old core.Key, secret string) {
	t.Helper()
	fresh, old, secret, err := e.Rotate(t.Context(), keyID, engine.RotateRequest{Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	return fresh, old, secret
}

func TestRotate_WithGraceTheOldKeyIsAcceptedUntilTheGracePeriodEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, openStore(t), nil)
		key, secret := issue(t, e, nil)
		_, _, next := rotate(t, e, key.ID, time.Hour)
		if v := lookup(t, e, secret); v.Code != core.CodeValid {
			t.Errorf("at once, the old key reads %+v", v)
		}
		time.Sleep(time.Hour - time.Millisecond)
		if v := lookup(t, e, secret); v.Code != core.CodeValid {
			t.Errorf("at the end of the grace period, the old key reads %+v", v)
		}
		time.Sleep(time.Millisecond)
		if v := lookup(t, e, secret); v.Code != core.CodeExpired {
			t.Errorf("after the grace period, the old key reads %+v", v)
		}
		if v := lookup(t, e, next); v.Code != core.CodeValid {
			t.Errorf("the new key reads %+v", v)
		}
	})
}

func TestRotate_ExpiryIsNeitherLostNorExtended(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	const hour = time.Hour
	for _, tt := range []struct {
		name             string
		ttl, grace, left time.Duration // left: of the old key; 0: it is revoked
	}{
		{"without grace", hour, 0, 0},
		{"with grace", 3 * hour, hour, hour},
		{"with grace beyond its own expiry", hour, 2 * hour, hour},
		{"without an expiry", 0, hour, hour},
		{"a shorter grace than a microsecond is none", hour, time.Nanosecond, 0},
	} {
		key, _ := issue(t, e, func(r *engine.IssueRequest) {
			if r.TTL = &tt.ttl; tt.ttl == 0 {
				r.TTL = nil
			}
		})
		fresh, old, _ := rotate(t, e, key.ID, tt.grace)
		if !fresh.ExpireTime.Equal(key.ExpireTime) {
			t.Errorf("%s: the new key expires at %s, the old one did at %s", tt.name, fresh.ExpireTime, key.ExpireTime)
		}
		if tt.left == 0 {
			if old.Status != core.StatusRevoked || !old.ExpireTime.Equal(key.ExpireTime) {
				t.Errorf("%s: the old key is %+v", tt.name, old)
			}
			continue
		}
		want := old.UpdateTime.Add(tt.left)
		if tt.left >= tt.ttl && tt.ttl > 0 {
			want = key.ExpireTime
		}
		if old.Status != core.StatusActive || !old.ExpireTime.Equal(want) {
			t.Errorf("%s: the old key expires at %s, want %s", tt.name, old.ExpireTime, want)
		}
	}
}

func TestRotate_RefusesAGracePeriodOutOfBounds(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key, _ := issue(t, e, nil)
	for _, grace := range []time.Duration{-1, core.MaxGrace + 1} {
		_, _, secret, err := e.Rotate(t.Context(), key.ID, engine.RotateRequest{Grace: grace})
		wantReason(t, err, core.BadRequest)
		if secret != "" {
			t.Error("there is a secret")
		}
	}
	rotate(t, e, key.ID, core.MaxGrace)
}

func TestRotate_CountersAreNotResetAndBothKeysShareThem(t *testing.T) {
	t.Parallel()
	for _, grace := range []time.Duration{0, time.Hour} {
		e := newEngine(t, openStore(t), withSigning)
		limiter, err := ratelimit.NewMemory(0)
		if err != nil {
			t.Fatal(err)
		}
		use := func(cred string) core.Code {
			v := lookup(t, e, cred)
			return policy.Decide(t.Context(), v, policy.Request{Now: time.Now()}, nil, limiter).Code
		}
		key, secret := issue(t, e, func(r *engine.IssueRequest) {
			r.RateLimit = core.RateLimitPolicy{Quota: 4, Window: 24 * time.Hour}
		})
		if code := use(secret); code != core.CodeValid {
			t.Fatalf("the first use reads %d", code)
		}
		fresh, _, second := rotate(t, e, key.ID, grace)
		if code := use(second); code != core.CodeValid {
			t.Errorf("the second use reads %d", code)
		}
		_, _, third := rotate(t, e, fresh.ID, grace)
		token, err := e.Derive(t.Context(), engine.DeriveRequest{Credential: third})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []core.Code{core.CodeValid, core.CodeValid, core.CodeRateLimited} {
			if code := use([]string{token.Token, third, third}[i]); code != want {
				t.Errorf("grace %s: use %d reads %d, want %d", grace, i+3, code, want)
			}
		}
		if grace > 0 {
			if code := use(secret); code != core.CodeRateLimited {
				t.Errorf("the first key has a count of its own: %d", code)
			}
		}
	}
}

func TestRevokeLineage_EndsTheOldKeyAndItsSuccessor(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key, secret := issue(t, e, nil)
	fresh, _, next := rotate(t, e, key.ID, time.Hour)
	_, err := e.RevokeLineage(t.Context(), core.Issued, key.ID, engine.RevokeRequest{Description: "why"})
	wantReason(t, err, core.BadRequest)
	revoked, err := e.RevokeLineage(t.Context(), core.Issued, key.ID, engine.RevokeRequest{})
	if err != nil || len(revoked) != 2 || revoked[1].ID != fresh.ID {
		t.Fatalf("%+v, %v", revoked, err)
	}
	for _, cred := range []string{secret, next} {
		if v := lookup(t, e, cred); v.Code != core.CodeRevoked {
			t.Errorf("%s reads %+v", v.KeyID, v)
		}
	}
	_, err = e.RevokeLineage(t.Context(), core.Issued, fresh.ID, engine.RevokeRequest{})
	wantReason(t, err, core.FailedPrecondition)
}

func TestRotate_WithGraceIsWithinTheQuota(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), func(c *engine.Config) { c.KeyQuota = 1 })
	key, secret := issue(t, e, nil)
	_, _, _, err := e.Rotate(t.Context(), key.ID, engine.RotateRequest{Grace: time.Hour})
	wantReason(t, err, core.KeyQuotaExceeded)
	if v := lookup(t, e, secret); v.Code != core.CodeValid {
		t.Errorf("refused, the old key reads %+v", v)
	}
	rotate(t, e, key.ID, 0)
}
