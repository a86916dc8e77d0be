package verify

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// uses notes the uses of keys.
type uses struct {
	mu   sync.Mutex
	list []core.Use
}

func (u *uses) record(use core.Use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = append(u.list, use)
}

// wants compares the number of uses of key a now since the last time.
func (u *uses) wants(t *testing.T, when string, n int) {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.list) != n {
		t.Errorf("%s: %d uses, want %d", when, len(u.list), n)
	}
	for _, use := range u.list {
		if use.Network != networkA || use.KeyID != "a" || !use.Time.Equal(time.Now()) {
			t.Errorf("%s: the use %+v", when, use)
		}
	}
	u.list = nil
}

func TestAUse_IsRecordedOnceAMinuteHoweverOftenThereIsAHit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var u uses
		v := newVerifier(t, Config{TTL: time.Hour, Used: u.record}, newFakeSource("a"))
		want(t, v, "key:a", core.CodeValid, Miss)
		u.wants(t, "a miss", 1)
		want(t, v, "key:a", core.CodeValid, Hit)
		u.wants(t, "the first hit", 1)
		for range 60 {
			time.Sleep(time.Second)
			want(t, v, "key:a", core.CodeValid, Hit)
		}
		u.wants(t, "hits in the next minute", 0)
		time.Sleep(time.Second)
		for range 100 {
			if r, ok := v.Cached(networkA, "key:a"); !ok || r.Cache != Hit {
				t.Fatalf("got %v", r)
			}
		}
		u.wants(t, "hits after a minute", 1)
	})
}

func TestAUse_IsAValidVerdictThatACallerGot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var u uses
		source := newFakeSource("a")
		v := newVerifier(t, Config{Used: u.record}, source)
		want(t, v, "key:unknown", core.CodeNotFound, Miss)
		want(t, v, "key:unknown", core.CodeNotFound, Negative)
		u.wants(t, "a key that there is not", 0)

		results := v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:unknown", "key:a"}, NoCache)
		if results[0].Cache != Miss || results[2].Cache != Coalesced {
			t.Errorf("got %v", results)
		}
		u.wants(t, "a miss and a coalesced one", 2)

		v.written()
		time.Sleep(pastTTL)
		source.setFailure(errDown)
		want(t, v, "key:a", core.CodeValid, Stale)
		u.wants(t, "a stale verdict", 1)
		source.setFailure(nil)
		time.Sleep(staleTrust)
		source.revoke(networkA, "a")
		want(t, v, "key:a", core.CodeRevoked, Miss)
		u.wants(t, "a revoked key", 0)
		source.setFailure(errors.New("down"))
		_ = wantUnavailable(t, v, "key:other")
		u.wants(t, "no answer", 0)
	})
}

func TestAUse_IsNotTheRefreshInTheBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var u uses
		source := newFakeSource("a")
		v := newVerifier(t, Config{Used: u.record}, source)
		ttl := cacheKeyA(t, v)
		u.wants(t, "a miss", 1)
		time.Sleep(ttl - time.Second)
		want(t, v, "key:a", core.CodeValid, Hit) // it is refreshed
		u.wants(t, "a hit", 1)
		synctest.Wait()
		if n := source.lookups.Load(); n != 2 {
			t.Fatalf("%d look-ups, want a second one", n)
		}
		u.wants(t, "a refresh", 0)
	})
}

func TestAUse_IsNotAStaleVerdictPastTheEndOfItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var u uses
		source := newFakeSource()
		key := testKey(networkA, "a")
		key.ExpireTime = time.Now().Add(30 * time.Second)
		source.keys[networkA.String()+"a"] = key
		v := newVerifier(t, Config{Used: u.record}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		u.wants(t, "before", 1)
		source.setFailure(errDown)
		time.Sleep(30 * time.Second)
		want(t, v, "key:a", core.CodeValid, Stale)
		u.wants(t, "after", 0)
	})
}

// BenchmarkCountUse is what the recording of uses adds to a hit.
func BenchmarkCountUse(b *testing.B) {
	v := newVerifier(b, Config{Used: func(core.Use) {}}, new(benchSource))
	credential := benchCredentials(1)[0]
	if _, err := v.Verify(context.Background(), networkA, credential, Use); err != nil {
		b.Fatal(err)
	}
	v.written()
	d := v.hash.of(networkA, credential)
	e, c := v.cache.get(v.cache.good, &d), v.clock()
	b.ReportAllocs()
	for b.Loop() {
		v.hit(e, &c)
	}
}
