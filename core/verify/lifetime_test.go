package verify

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

func TestAGoodVerdictIsServedUntilItExpiresThenLookedUpAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{TTL: time.Minute}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		time.Sleep(43 * time.Second) // before the last fifth of the shortest lifetime
		want(t, v, "key:a", core.CodeValid, Hit)
		time.Sleep(24 * time.Second) // past the longest
		want(t, v, "key:a", core.CodeValid, Miss)
		if n := source.lookups.Load(); n != 2 {
			t.Errorf("%d look-ups, want 2", n)
		}
	})
}

func TestLifetimesAreSpreadByATenth(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, Config{TTL: 100 * time.Second, TTLConnected: 1000 * time.Second}, newFakeSource())
	c := v.clock()
	seen := make(map[time.Duration]bool)
	for range 200 {
		ttl, connected, ok := v.lifetime(&core.Verdict{}, &c)
		if !ok || ttl < 90*time.Second || ttl > 110*time.Second {
			t.Fatalf("lifetime %s, want 90 s to 110 s", ttl)
		}
		if d := connected - 10*ttl; d.Abs() > time.Millisecond {
			t.Fatalf("connected lifetime %s with lifetime %s", connected, ttl)
		}
		seen[ttl] = true
	}
	if len(seen) < 100 {
		t.Errorf("%d different lifetimes of 200", len(seen))
	}
}

func TestAVerdictIsNotCachedBeyondTheKeysExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource()
		key := testKey(networkA, "a")
		key.ExpireTime = time.Now().Add(10 * time.Second)
		source.put(key, feed.EventCreated)
		v := newVerifier(t, Config{}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		source.positions.MarkComplete(time.Now().Add(time.Second / 2)) // the connected lifetime ends with the key too
		time.Sleep(7 * time.Second)
		want(t, v, "key:a", core.CodeValid, Hit)
		time.Sleep(3 * time.Second)
		want(t, v, "key:a", core.CodeExpired, Miss)
		want(t, v, "key:a", core.CodeExpired, Negative)
	})
}

func TestAVerdictThatExpiresWithinASecondIsNotCached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource()
		key := testKey(networkA, "a")
		key.ExpireTime = time.Now().Add(999 * time.Millisecond)
		source.put(key, feed.EventCreated)
		v := newVerifier(t, Config{}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		want(t, v, "key:a", core.CodeValid, Miss)
	})
}

func TestALifetimeUnderASecondAfterTheLookUpIsNotCached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource()
		key := testKey(networkA, "a")
		key.ExpireTime = time.Now().Add(1600 * time.Millisecond)
		source.put(key, feed.EventCreated)
		source.set(func(s *fakeSource) {
			s.enter = func(context.Context, string) error {
				time.Sleep(700 * time.Millisecond)
				return nil
			}
		})
		v := newVerifier(t, Config{}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		want(t, v, "key:a", core.CodeValid, Miss)
	})
}

func TestANegativeVerdictHasItsOwnLifetime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("revoked")
		source.revoke(networkA, "revoked")
		v := newVerifier(t, Config{NegativeTTL: 5 * time.Second}, source)
		for credential, code := range map[string]core.Code{
			"key:unknown": core.CodeNotFound, "key:revoked": core.CodeRevoked,
		} {
			want(t, v, credential, code, Miss)
			time.Sleep(4900 * time.Millisecond)
			want(t, v, credential, code, Negative)
			time.Sleep(100 * time.Millisecond)
			source.positions.MarkComplete(time.Now()) // lengthens good lifetimes only
			want(t, v, credential, code, Miss)
		}
	})
}

func TestWithoutNegativeTTLNoNegativeIsCached(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a")
	v := newVerifier(t, Config{NegativeTTL: -1}, source)
	want(t, v, "key:unknown", core.CodeNotFound, Miss)
	want(t, v, "key:unknown", core.CodeNotFound, Miss)
	want(t, v, "key:a", core.CodeValid, Miss)
	source.revokeUnseen(networkA, "a")
	if _, err := v.Verify(t.Context(), networkA, "key:a", NoCache); err != nil {
		t.Fatal(err)
	}
	want(t, v, "key:a", core.CodeRevoked, Miss) // and what was known before is forgotten
}

func TestAFinalVerdictNeedsNoLookUpAndIsNotCached(t *testing.T) {
	t.Parallel()
	source := newFakeSource()
	v := newVerifier(t, Config{}, source)
	for range 2 {
		want(t, v, "forged", core.CodeNotFound, Local)
	}
	if s := v.Stats(); s.Entries != 0 || source.items.Load() != 0 {
		t.Errorf("%d entries, %d look-ups, want none", s.Entries, source.items.Load())
	}
}

func TestAnEntryIsRefreshedInTheLastFifthOfItsLifetime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a", "quiet")
		v := newVerifier(t, Config{TTL: 100 * time.Second}, source)
		ttl := cacheKeyA(t, v)
		want(t, v, "key:quiet", core.CodeValid, Miss)
		gate := make(chan struct{})
		source.set(func(s *fakeSource) { s.enter = waitFor(gate) })

		time.Sleep(ttl*4/5 - time.Second)
		want(t, v, "key:a", core.CodeValid, Hit)
		synctest.Wait()
		if n := source.lookups.Load(); n != 2 {
			t.Fatalf("%d look-ups before the last fifth, want 2", n)
		}
		time.Sleep(2 * time.Second)
		for range 10 {
			want(t, v, "key:a", core.CodeValid, Hit) // nobody waits for the refresh
		}
		synctest.Wait()
		if n := source.lookups.Load(); n != 3 {
			t.Fatalf("%d look-ups in the last fifth, want one more", n)
		}
		close(gate)
		synctest.Wait()
		v.written()
		time.Sleep(60 * time.Second) // past the first lifetime
		want(t, v, "key:a", core.CodeValid, Hit)
		want(t, v, "key:quiet", core.CodeValid, Miss)
	})
}

func TestAFailedRefreshHarmsNobodyAndIsNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{TTL: 100 * time.Second}, source)
		ttl := cacheKeyA(t, v)
		source.setFailure(errDown)
		time.Sleep(ttl - 10*time.Second)
		for range 5 {
			want(t, v, "key:a", core.CodeValid, Hit)
			synctest.Wait()
		}
		if n := source.lookups.Load(); n != 2 {
			t.Errorf("%d look-ups, want 2", n)
		}
		source.setFailure(nil)
		time.Sleep(10 * time.Second)
		want(t, v, "key:a", core.CodeValid, Miss)
	})
}

func TestAConnectedEntryAgesFromTheLastMomentTheTableWasComplete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{TTL: time.Minute, TTLConnected: 10 * time.Minute}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		for range 40 { // 400 s: beyond ttl, within ttl_connected
			time.Sleep(10 * time.Second)
			source.positions.MarkComplete(time.Now())
			want(t, v, "key:a", core.CodeValid, Hit)
		}
		if n := source.lookups.Load(); n != 1 {
			t.Fatalf("%d look-ups while connected, want 1", n)
		}
		// The stream breaks: the rule of ttl holds from this moment.
		time.Sleep(40 * time.Second)
		want(t, v, "key:a", core.CodeValid, Hit)
		time.Sleep(27 * time.Second)
		want(t, v, "key:a", core.CodeValid, Miss)
	})
}

func TestConnectedOrNotNoEntryOutlivesTTLConnected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{TTL: time.Minute, TTLConnected: 10 * time.Minute}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		time.Sleep(11*time.Minute + time.Second)
		source.positions.MarkComplete(time.Now())
		want(t, v, "key:a", core.CodeValid, Miss)
	})
}

func TestAttack25_ClockStepsDoNotLengthenALifetime(t *testing.T) {
	t.Parallel()
	const minute = int64(time.Minute)
	at := func(steady time.Duration, wall int64) clock {
		return clock{steady: time.Hour + steady, wall: wall * minute}
	}
	e := &entry{steady: time.Hour, wall: 1000 * minute, ttl: time.Minute, connected: 10 * time.Minute}
	for name, c := range map[string]struct {
		at       clock
		complete int64
		fresh    bool
	}{
		"half a minute later":              {at(time.Minute/2, 1000), 0, true},
		"the wall clock was set back":      {at(2*time.Minute, 900), 0, false},
		"the machine slept":                {at(time.Second, 1002), 0, false},
		"complete a moment ago":            {at(2*time.Minute, 1002), 1002*minute - 1, true},
		"complete in a future that was":    {at(2*time.Minute, 900), 1002 * minute, false},
		"complete by another core's clock": {at(2*time.Minute, 1002), 1002*minute + 1000, true},
		"complete, but looked up long ago": {at(time.Hour, 1060), 1060 * minute, false},
	} {
		if fresh := e.left(&c.at, c.complete) > 0; fresh != c.fresh {
			t.Errorf("%s: fresh is %t, want %t", name, fresh, c.fresh)
		}
	}
	if completeAge(&clock{wall: 1}, 0) != math.MaxInt64 {
		t.Error("a table that was never complete counts as complete")
	}
}

func TestNoCacheSkipsTheReadAndNoStoreTheWriteToo(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a", "b")
	v := newVerifier(t, Config{}, source)
	want(t, v, "key:a", core.CodeValid, Miss)
	source.revokeUnseen(networkA, "a")
	source.revokeUnseen(networkA, "b")
	for _, mode := range []Mode{NoStore, Mode(9)} {
		r, err := v.Verify(t.Context(), networkA, "key:a", mode)
		if err != nil || r.Verdict.Code != core.CodeRevoked || r.Cache != Miss {
			t.Fatalf("mode %d: got %v from %s, %v", mode, r.Verdict, r.Cache, err)
		}
	}
	want(t, v, "key:a", core.CodeValid, Hit) // nothing was written
	r, err := v.Verify(t.Context(), networkA, "key:a", NoCache)
	if err != nil || r.Verdict.Code != core.CodeRevoked {
		t.Fatalf("got %v, %v", r.Verdict, err)
	}
	v.written()
	want(t, v, "key:a", core.CodeRevoked, Negative)
}

func TestACacheThatIsOffAsksTheSourceEachTime(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a")
	v := newVerifier(t, Config{Off: true}, source)
	for range 3 {
		want(t, v, "key:a", core.CodeValid, Miss)
	}
	source.revokeUnseen(networkA, "a")
	want(t, v, "key:a", core.CodeRevoked, Miss)
	for _, r := range v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:b"}, Use) {
		if r.Err != nil || r.Cache != Miss {
			t.Errorf("got %s, %v", r.Cache, r.Err)
		}
	}
	if s := v.Stats(); s.Entries != 0 || s.Bytes != 0 || s.Requests[Miss] != 6 {
		t.Errorf("stats %+v", s)
	}
}

func TestAConfigurationThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"short ttl":          {TTL: time.Millisecond},
		"negative ttl":       {TTL: -1},
		"short connected":    {TTL: time.Hour, TTLConnected: time.Minute},
		"short negative ttl": {NegativeTTL: time.Millisecond},
		"small":              {MaxBytes: 1000},
		"negative size":      {MaxBytes: -1},
		"timeout":            {LookupTimeout: -1},
		"waiting":            {MaxWaiting: -1},
	} {
		if v, err := New(c, newFakeSource()); err == nil {
			v.Close()
			t.Errorf("%s: accepted", name)
		}
	}
	for name, l := range map[string]Limits{"calls": {Calls: -1}, "items": {Items: -1}, "bytes": {Bytes: -1}} {
		if v, err := New(Config{}, limited{newFakeSource(), l}); err == nil {
			v.Close()
			t.Errorf("negative %s of the source: accepted", name)
		}
	}
	if _, err := New(Config{}, nil); err == nil {
		t.Error("a verifier without a source")
	}
	v := newVerifier(t, Config{TTL: time.Hour, MaxBytes: minBytes}, newFakeSource())
	if v.config.TTLConnected != time.Hour {
		t.Errorf("ttl_connected %s follows ttl up, want 1h", v.config.TTLConnected)
	}
}

func TestStatsCountAnswersByStatus(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a")
	v := newVerifier(t, Config{}, source)
	want(t, v, "key:a", core.CodeValid, Miss)
	for range 100 {
		want(t, v, "key:a", core.CodeValid, Hit)
	}
	want(t, v, "key:b", core.CodeNotFound, Miss)
	want(t, v, "key:b", core.CodeNotFound, Negative)
	want(t, v, "forged", core.CodeNotFound, Local)
	source.setFailure(errDown)
	_ = wantUnavailable(t, v, "key:c")
	s := v.Stats()
	if s.Requests != [numStatus]uint64{Miss: 2, Hit: 100, Negative: 1, Local: 1} || s.Failed != 1 {
		t.Errorf("stats %+v", s)
	}
	if s.Entries != 2 || s.Bytes < 600 {
		t.Errorf("%d entries, %d bytes", s.Entries, s.Bytes)
	}
	names := make(map[string]bool)
	for _, status := range Statuses {
		names[status.String()] = true
	}
	if len(names) != int(numStatus) || numStatus.String() != "unknown" {
		t.Errorf("names %v", names)
	}
	if fmt.Sprint(Hit.FromCache(), Stale.FromCache(), Miss.FromCache(), Local.FromCache()) != "true true false false" {
		t.Error("FromCache")
	}
}

// cacheKeyA asks for key a and returns the lifetime of its entry.
func cacheKeyA(t *testing.T, v *Verifier) time.Duration {
	t.Helper()
	const credential = "key:a"
	want(t, v, credential, core.CodeValid, Miss)
	d := v.hash.of(networkA, credential)
	e := v.cache.get(v.cache.good, &d)
	if e == nil {
		t.Fatal("the verdict was not cached")
	}
	return e.ttl
}
