package verify

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// A source refuses a call that holds unknown credentials and a known key: the known key is looked up again without
// the unknown ones, and its caller does not hear of the refusal.
func TestAttack08_AKnownKeyInARefusedCallIsLookedUpAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := farSource(roundTrip, keyOf(0))
		c := Config{TTL: time.Second, StaleIfError: -1, LookupTimeout: 2 * time.Second}
		v := newVerifier(t, setup{c, Limits{Calls: 1, Items: 8}}, s)
		known := keepKnown(t, v, 1)[0]
		time.Sleep(2 * time.Second) // past its lifetime
		first := asking(t, v, unknownKey(0), someone)
		s.set(func(s *fakeSource) {
			s.whole = true
			s.enter = func(_ context.Context, credential string) error {
				if credential == unknownKey(1) {
					return &core.Error{Reason: core.Unavailable, Err: ErrThrottled}
				}
				return nil
			}
		})
		second := asking(t, v, unknownKey(1), someone) // waits with the known key for the same call
		a := <-asking(t, v, known, another)
		if a.err != nil || a.result.Verdict.Code != core.CodeValid || a.result.Cache != Miss {
			t.Errorf("the known key: got %+v, %v", a.result, a.err)
		}
		<-first
		<-second
		mixed := false
		for _, c := range s.made() {
			mixed = mixed || len(c.credentials) == 2
		}
		if !mixed {
			t.Error("the known key was in no call with an unknown one, so nothing was tried")
		}
	})
}

// When an overload lasts, waiting for long helps nobody: unknown keys are refused, and answered, within an eighth of
// the timeout and a call.
func TestAttack08_WhileAnOverloadLastsNobodyWaitsForLong(t *testing.T) {
	t.Parallel()
	const trip, measured = 80 * time.Millisecond, 5 * time.Second
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, farConfig(), farSource(trip))
		l := load{rate: int(2 * capacity(trip)), credential: unknownKey, client: oneClient}
		l.run(t, v, 3*time.Second, measured)
		wantGoodput(t, &l, trip, measured)
		short := farConfig().LookupTimeout / 8
		if waited := percentile(l.refused, 1); waited > short {
			t.Errorf("a request waited %v to be refused", waited)
		}
		if slowest := percentile(l.good, 1); slowest > short+trip {
			t.Errorf("an answer took %v", slowest)
		}
	})
}

// That a source hangs is found out once, and not by each known key for itself.
func TestAttack08_ASourceThatHangsIsNotFoundOutByEachKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := farSource(roundTrip)
		for i := range 50 {
			s.create(networkA, keyOf(i))
		}
		config := edgeConfig
		config.TTL = time.Second
		v := newVerifier(t, config, s)
		known := keepKnown(t, v, 50)
		time.Sleep(2 * time.Second) // past their lifetime
		s.set(func(s *fakeSource) { s.trip = time.Hour })
		if a := <-asking(t, v, known[0], someone); a.err != nil || a.result.Cache != Stale {
			t.Fatalf("the first key: got %+v, %v", a.result, a.err)
		}
		synctest.Wait()
		for _, credential := range known[1:] {
			if a := <-asking(t, v, credential, someone); a.err != nil || a.result.Cache != Stale || a.took > 0 {
				t.Errorf("another key: got %+v, %v after %v", a.result, a.err, a.took)
			}
		}
	})
}
