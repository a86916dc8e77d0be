package verify

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// admitted is how often a source was asked whether a call could be made.
func (s *fakeSource) admitted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admits
}

func TestWhoeverJoinsALookUpIsNotRefused(t *testing.T) {
	atRoundTrip(t, edgeConfig, func(t bubble, v *Verifier, s *fakeSource) {
		var answers []<-chan asked
		for range 10 {
			answers = append(answers, asking(t, v, "key:a", someone))
			s.set(func(s *fakeSource) { s.closed = errDown })
		}
		for _, answer := range answers {
			if a := <-answer; a.err != nil {
				t.Error(a.err)
			}
		}
		if n := s.admitted(); n != 1 {
			t.Errorf("for one look-up the source was asked %d times whether it may be made", n)
		}
	})
}

func TestWhileASourceTakesNoCallsAStaleKeyAsksForOneOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := farSource(roundTrip, keyOf(0))
		v := newVerifier(t, Config{TTL: time.Second}, s)
		known := keepKnown(t, v, 1)[0]
		s.set(func(s *fakeSource) { s.closed = errDown })
		time.Sleep(2 * time.Second) // past its lifetime
		before := s.admitted()
		for range 1000 {
			want(t, v, known, core.CodeValid, Stale)
			time.Sleep(10 * time.Millisecond)
		}
		if n := s.admitted() - before; n > 11 {
			t.Errorf("in ten seconds the source was asked %d times whether a call could be made", n)
		}
		s.set(func(s *fakeSource) { s.closed = nil })
		for range 100 {
			time.Sleep(2 * roundTrip)
			if r, err := ask(t, v, known); err == nil && r.Cache != Stale {
				return
			}
		}
		t.Error("the source takes calls again and the key is still stale")
	})
}
