package verify

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAPaceThatWasSlowedRecoversWithinAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := farSource(roundTrip)
		v := newVerifier(t, farConfig(), s)
		s.setFailure(errModelThrottled) // which does not say for how long
		flood := load{rate: 100, client: oneClient, credential: unknownKey}
		flood.run(t, v, 0, time.Minute)
		if calls := len(s.made()); calls > 15 {
			t.Errorf("%d calls were made only to be refused", calls)
		}
		s.setFailure(nil)
		later := load{rate: 100, client: oneClient, credential: func(i int) string { return unknownKey(1_000_000 + i) }}
		later.run(t, v, time.Minute, 10*time.Second)
		if n := len(later.refused); n > 0 {
			t.Errorf("a minute after it answers again %d requests are refused", n)
		}
	})
}
