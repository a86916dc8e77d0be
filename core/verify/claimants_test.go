package verify

import (
	"fmt"
	"testing"
	"time"
)

// flooded runs a test of a verifier whose queue is full of tokens that claim the key "victim", all from two addresses.
func flooded(t *testing.T, tokens int, test func(t bubble, v *Verifier, s *fakeSource)) {
	t.Helper()
	config := setup{Config{LookupTimeout: time.Minute}, Limits{Calls: 1, Items: 20}}
	atRoundTrip(t, config, func(t bubble, v *Verifier, s *fakeSource) {
		for i := range tokens {
			_ = asking(t, v, fmt.Sprint("key:of-victim-a", i), "198.51.100.1")
			_ = asking(t, v, fmt.Sprint("key:of-victim-b", i), "198.51.100.2")
		}
		test(t, v, s)
	})
}

func TestAttack08_WhoClaimsTheKeyOfAnotherTakesTurnsWithIt(t *testing.T) {
	flooded(t, 30, func(t bubble, v *Verifier, _ *fakeSource) {
		// The call that is out, one for each of the two addresses that were there before, and its own.
		if a := <-asking(t, v, "key:victim", another); a.err != nil || a.took > 4*roundTrip {
			t.Errorf("the key that is claimed got %v after %s", a.err, a.took)
		}
	})
}

func TestAttack08_TokensOfOneKeyKeepNobodyElseOutOfACall(t *testing.T) {
	flooded(t, 250, func(t bubble, v *Verifier, s *fakeSource) {
		var others []<-chan asked
		for i := range 10 {
			others = append(others, asking(t, v, unknownKey(i), fmt.Sprint("192.0.2.", i+1)))
		}
		for _, answer := range others {
			if a := <-answer; a.err != nil || a.took > 2*roundTrip {
				t.Errorf("another client got %v after %s", a.err, a.took)
			}
		}
		if sizes := s.sizes(); sizes[1] != 11 {
			t.Errorf("the calls held %v, want one token and the ten others in the second", sizes)
		}
	})
}

func TestAttack08_OpaqueCredentialsTakeOneCallInEight(t *testing.T) {
	config := setup{Config{LookupTimeout: time.Minute}, Limits{Calls: 1, Items: 10}}
	atRoundTrip(t, config, func(t bubble, v *Verifier, s *fakeSource) {
		for i := range 200 {
			_ = asking(t, v, fmt.Sprint("key:opaque-", i), someone)
		}
		var last <-chan asked
		for i := range 300 {
			last = asking(t, v, unknownKey(i), another)
		}
		if a := <-last; a.err != nil {
			t.Error(a.err)
		}
		alone := 0
		for _, size := range s.sizes() {
			if size == 1 {
				alone++
			}
		}
		if all := len(s.sizes()); alone < 4 || alone > 6 {
			t.Errorf("of %d calls %d held one credential, not the first and every eighth of the others", all, alone)
		}
	})
}
