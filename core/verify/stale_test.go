package verify

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// pastTTL is longer than the longest lifetime of a verdict with the default configuration.
const pastTTL = 67 * time.Second

// newExpired returns a verifier that has looked key a up, at the moment when the verdict has expired.
func newExpired(t *testing.T, config Config) (*fakeSource, *Verifier) {
	t.Helper()
	source := newFakeSource("a")
	v := newVerifier(t, config, source)
	want(t, v, "key:a", core.CodeValid, Miss)
	time.Sleep(pastTTL)
	return source, v
}

func TestAGoodVerdictServesForTheStaleWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{TTL: time.Minute, StaleIfError: 5 * time.Minute}, source)
		ttl := cacheKeyA(t, v)
		source.setFailure(errDown)
		time.Sleep(ttl)
		want(t, v, "key:a", core.CodeValid, Stale)
		time.Sleep(5*time.Minute - time.Second)
		want(t, v, "key:a", core.CodeValid, Stale)
		time.Sleep(time.Second)
		_ = wantUnavailable(t, v, "key:a")
		source.setFailure(nil)
		want(t, v, "key:a", core.CodeValid, Miss)
	})
}

func TestTheStaleWindowBeginsWhenTheStreamBreaks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{StaleIfError: time.Minute}, source)
		ttl := cacheKeyA(t, v)
		time.Sleep(4 * time.Minute)
		source.positions.MarkComplete(time.Now())
		source.setFailure(errDown)
		time.Sleep(ttl + 59*time.Second)
		want(t, v, "key:a", core.CodeValid, Stale)
		time.Sleep(time.Second)
		_ = wantUnavailable(t, v, "key:a")
	})
}

func TestNothingStaleIsServed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config Config
		mode   Mode
		before func(s *fakeSource, v *Verifier) // after the verdict was cached
		err    error
	}{
		"when it is off":                    {config: Config{StaleIfError: -1}, err: errDown},
		"to a caller who skips the cache":   {mode: NoCache, err: errDown},
		"for a misconfiguration":            {err: fmt.Errorf("401: %w", ErrMisconfigured)},
		"after an unrelated reason with it": {err: core.WrapError(core.Unavailable, "x", ErrMisconfigured)},
		"of a key that has changed": {err: errDown, before: func(s *fakeSource, _ *Verifier) {
			s.create(networkA, "a")
		}},
		"of a key that was revoked": {err: errDown, before: func(s *fakeSource, _ *Verifier) {
			s.revoke(networkA, "a")
		}},
		"of a key that was seen revoked": {err: errDown, before: func(s *fakeSource, v *Verifier) {
			s.revokeUnseen(networkA, "a")
			_, _ = v.Verify(context.Background(), networkA, "key:a", NoCache)
			v.written()
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			source := newFakeSource("a")
			v := newVerifier(t, c.config, source)
			want(t, v, "key:a", core.CodeValid, Miss)
			if c.before != nil {
				c.before(source, v)
			}
			time.Sleep(pastTTL)
			source.setFailure(c.err)
			for range 2 {
				if r, err := v.Verify(t.Context(), networkA, "key:a", c.mode); !errors.Is(err, c.err) {
					t.Errorf("%s: got %v from %s, %v", name, r.Verdict, r.Cache, err)
				}
			}
		})
	}
}

func TestANegativeVerdictIsNeverServedStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("revoked")
		source.revoke(networkA, "revoked")
		v := newVerifier(t, Config{}, source)
		want(t, v, "key:revoked", core.CodeRevoked, Miss)
		want(t, v, "key:unknown", core.CodeNotFound, Miss)
		time.Sleep(5 * time.Second)
		source.setFailure(errDown)
		_ = wantUnavailable(t, v, "key:revoked")
		_ = wantUnavailable(t, v, "key:unknown")
	})
}

func TestANewerNegativeVerdictForbidsAnOlderGoodOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		d := v.hash.of(networkA, "key:a")
		good := v.cache.get(v.cache.good, &d)
		time.Sleep(pastTTL)
		source.revokeUnseen(networkA, "a")
		want(t, v, "key:a", core.CodeRevoked, Miss)
		source.setFailure(errDown)
		time.Sleep(6 * time.Second)
		v.cache.good.put(good) // a write that lands late
		v.written()
		_ = wantUnavailable(t, v, "key:a")
	})
}

func TestWhileASourceHangsOnlyTheFirstRequestWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, v := newExpired(t, Config{LookupTimeout: 2 * time.Second})
		source.set(func(s *fakeSource) {
			s.enter = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
		})
		start := time.Now()
		want(t, v, "key:a", core.CodeValid, Stale)
		if waited := time.Since(start); waited != 2*time.Second {
			t.Errorf("the first request waited %s, want 2s", waited)
		}
		start = time.Now()
		for range 200 {
			want(t, v, "key:a", core.CodeValid, Stale)
			time.Sleep(100 * time.Millisecond)
		}
		if waited := time.Since(start); waited != 20*time.Second {
			t.Errorf("200 requests in 20s took %s", waited)
		}
		if n := source.lookups.Load() - 2; n < 5 || n > 8 {
			t.Errorf("%d attempts in 20s, want one in 3s", n)
		}
		source.set(func(s *fakeSource) { s.enter = nil })
		time.Sleep(2 * time.Second)
		want(t, v, "key:a", core.CodeValid, Stale) // begins the attempt that succeeds
		synctest.Wait()
		v.written()
		want(t, v, "key:a", core.CodeValid, Hit)
		source.revokeUnseen(networkA, "a")
		time.Sleep(pastTTL)
		want(t, v, "key:a", core.CodeRevoked, Miss)
	})
}

func TestAfterAPauseAStaleVerdictIsNotTrustedWithoutAnAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, v := newExpired(t, Config{})
		source.setFailure(errDown)
		want(t, v, "key:a", core.CodeValid, Stale)
		source.setFailure(nil)
		source.revokeUnseen(networkA, "a")
		time.Sleep(staleTrust + time.Second)
		want(t, v, "key:a", core.CodeRevoked, Miss)
	})
}

func TestAMisconfigurationEndsWhatWasServedStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, v := newExpired(t, Config{})
		source.setFailure(errDown)
		want(t, v, "key:a", core.CodeValid, Stale)
		source.setFailure(ErrMisconfigured)
		time.Sleep(2 * time.Second)
		want(t, v, "key:a", core.CodeValid, Stale) // it begins the attempt that tells
		synctest.Wait()
		if err := wantUnavailable(t, v, "key:a"); !errors.Is(err, ErrMisconfigured) {
			t.Errorf("got %v", err)
		}
	})
}
