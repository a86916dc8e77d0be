package verify

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// saying makes a source give verdicts with a code.
func saying(code core.Code) func(s *fakeSource) {
	return func(s *fakeSource) {
		s.leave = func(_ string, v *core.Verdict) (*core.Verdict, error) {
			return &core.Verdict{Network: v.Network, KeyID: v.KeyID, Code: code}, nil
		}
	}
}

// failing makes a source fail.
func failing(err error) func(s *fakeSource) { return func(s *fakeSource) { s.fail = err } }

// noes are the ways in which a source says no with nothing that could be cached.
var noes = map[string]struct {
	config Config
	no     func(s *fakeSource)
}{
	"an address that is not allowed":  {no: saying(core.CodeIPNotAllowed)},
	"an unknown state":                {no: saying(core.CodeInternal)},
	"a code of another time":          {no: saying(core.Code(99))},
	"revoked, of which nothing stays": {config: Config{NegativeTTL: -1}, no: saying(core.CodeRevoked)},
	"a refusal in unknown words":      {no: failing(fmt.Errorf("SUSPENDED: %w", ErrRefused))},
	"a refusal of this node":          {no: failing(core.WrapError(core.Unavailable, "401", ErrMisconfigured))},
}

func TestAttack23_AfterTheSourceSaidNoAFailureBringsNothingBack(t *testing.T) {
	t.Parallel()
	for name, c := range noes {
		for _, mode := range []Mode{Use, NoCache} {
			synctest.Test(t, func(t *testing.T) {
				source := newFakeSource("a", "b")
				v := newVerifier(t, c.config, source)
				want(t, v, "key:a", core.CodeValid, Miss)
				want(t, v, "key:b", core.CodeValid, Miss)
				d := v.hash.of(networkA, "key:a")
				before := v.cache.get(v.cache.good, &d)
				time.Sleep(pastTTL)
				source.set(c.no)
				for _, r := range v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:b"}, mode) {
					if r.Err == nil && r.Verdict.Code == core.CodeValid {
						t.Errorf("%s: got %v", name, r.Verdict)
					}
				}
				v.written()
				v.cache.good.put(&entry{ // a write that lands late
					digest: before.digest, verdict: before.verdict, position: before.position, slot: before.slot,
					steady: before.steady, wall: before.wall, ttl: before.ttl, connected: before.connected,
				})
				v.written()
				source.set(func(s *fakeSource) { s.leave, s.fail = nil, errDown })
				for range 2 {
					for _, credential := range []string{"key:a", "key:b"} {
						if err := wantUnavailable(t, v, credential); !errors.Is(err, errDown) {
							t.Errorf("%s: got %v", name, err)
						}
					}
				}
				source.setFailure(nil)
				want(t, v, "key:a", core.CodeValid, Miss)
				want(t, v, "key:a", core.CodeValid, Hit)
				time.Sleep(pastTTL)
				source.setFailure(errDown)
				want(t, v, "key:a", core.CodeValid, Stale)
			})
		}
	}
}

func TestANoInTheBackgroundEndsTheVerdictThatItWasToReplace(t *testing.T) {
	t.Parallel()
	for name, c := range noes {
		synctest.Test(t, func(t *testing.T) {
			source := newFakeSource("a")
			v := newVerifier(t, c.config, source)
			ttl := cacheKeyA(t, v)
			time.Sleep(ttl - time.Second)
			source.set(c.no)
			want(t, v, "key:a", core.CodeValid, Hit) // it begins the look-up that tells
			synctest.Wait()
			v.written()
			source.set(func(s *fakeSource) { s.leave, s.fail = nil, errDown })
			if err := wantUnavailable(t, v, "key:a"); !errors.Is(err, errDown) {
				t.Errorf("%s: got %v", name, err)
			}
		})
	}
}

func TestAWaiterThatKnewTheOldVerdictDoesNotServeItAfterANo(t *testing.T) {
	t.Parallel()
	for name, c := range noes {
		synctest.Test(t, func(t *testing.T) {
			source, v := newExpired(t, c.config)
			q := &query{digest: v.hash.of(networkA, "key:a"), Query: Query{Network: networkA, Credential: "key:a"}}
			v.prepare(q)
			source.set(c.no)
			_, _ = v.Verify(t.Context(), networkA, "key:a", NoCache)
			c := v.clock()
			if v.mayServeStale(q, &c) { // whatever of the write can be read by now
				t.Errorf("%s: it may be served", name)
			}
		})
	}
}

func TestANoThatIsNotCachedIsNeverAnAnswerFromMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{}, source)
		past := v.clock() // of a request that has come a long way since it read the clock
		time.Sleep(time.Hour)
		source.set(saying(core.CodeIPNotAllowed))
		for range 3 {
			want(t, v, "key:a", core.CodeIPNotAllowed, Miss)
		}
		d := v.hash.of(networkA, "key:a")
		if r := v.remembered(&d, networkA, "key:a", &past); r.Verdict != nil {
			t.Errorf("got %v from %s", r.Verdict, r.Cache)
		}
		source.set(func(s *fakeSource) { s.leave = nil })
		want(t, v, "key:a", core.CodeValid, Miss)
		want(t, v, "key:a", core.CodeValid, Hit)
	})
}

func TestARateLimitLeavesAGoodVerdictAsItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, v := newExpired(t, Config{})
		source.set(saying(core.CodeRateLimited))
		want(t, v, "key:a", core.CodeRateLimited, Miss)
		source.set(func(s *fakeSource) { s.leave, s.fail = nil, errDown })
		want(t, v, "key:a", core.CodeValid, Stale)
	})
}

func TestANoThatIsOlderDoesNotEndWhatIsNewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a")
		v := newVerifier(t, Config{}, source)
		source.set(func(s *fakeSource) {
			s.leave = func(_ string, verdict *core.Verdict) (*core.Verdict, error) {
				s.set(func(s *fakeSource) { s.leave = nil })
				time.Sleep(time.Second)
				want(t, v, "key:a", core.CodeValid, Miss) // it began later, and is there first
				return &core.Verdict{Network: verdict.Network, KeyID: verdict.KeyID, Code: core.CodeIPNotAllowed}, nil
			}
		})
		if _, err := v.Verify(t.Context(), networkA, "key:a", NoCache); err != nil {
			t.Fatal(err)
		}
		v.written()
		want(t, v, "key:a", core.CodeValid, Hit)
	})
}
