package verify

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// edgeConfig is that of a sidecar.
var edgeConfig = setup{Config{MaxWaiting: 10_000, LookupTimeout: 2 * time.Second}, Limits{Calls: 2, Items: 100}}

const roundTrip = 20 * time.Millisecond

// asked is a verification in the background.
type asked struct {
	result Result
	err    error
	took   time.Duration
}

// asking verifies a credential in the background, for a client.
func asking(tb testing.TB, v *Verifier, credential, client string) <-chan asked {
	tb.Helper()
	answer := make(chan asked, 1)
	start := time.Now()
	go func() {
		ctx := WithClient(tb.Context(), netip.MustParseAddr(client))
		r, err := v.Verify(ctx, networkA, credential, Use)
		answer <- asked{r, err, time.Since(start)}
	}()
	synctest.Wait()
	return answer
}

const someone, another = "192.0.2.1", "192.0.2.2"

// bubble is a test on a clock of its own.
type bubble struct{ *testing.T }

// atRoundTrip runs a test of a verifier over a source that is a round trip away, on a clock of its own.
func atRoundTrip(t *testing.T, config configured, test func(t bubble, v *Verifier, s *fakeSource)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := farSource(roundTrip)
		test(bubble{t}, newVerifier(t, config, s), s)
	})
}

func TestALonelyLookUpGoesAtOnce(t *testing.T) {
	atRoundTrip(t, edgeConfig, func(t bubble, v *Verifier, _ *fakeSource) {
		if a := <-asking(t, v, "key:a", someone); a.err != nil || a.took != roundTrip {
			t.Errorf("got %v after %s", a.err, a.took)
		}
	})
}

func TestACallThatReturnsTakesUpToAHundredWithIt(t *testing.T) {
	atRoundTrip(t, edgeConfig, func(t bubble, v *Verifier, s *fakeSource) {
		var answers []<-chan asked
		for i := range 252 {
			answers = append(answers, asking(t, v, unknownKey(i), someone))
		}
		for i, answer := range answers {
			if a := <-answer; a.err != nil || a.took > 3*roundTrip {
				t.Errorf("look-up %d: got %v after %s", i, a.err, a.took)
			}
		}
		if got, want := s.sizes(), []int{1, 1, 100, 100, 50}; !slices.Equal(got, want) {
			t.Errorf("the calls held %v, want %v", got, want)
		}
	})
}

func TestTenThousandKeysTakeAHundredAndSixtyCalls(t *testing.T) {
	atRoundTrip(t, edgeConfig, func(t bubble, v *Verifier, s *fakeSource) {
		var all sync.WaitGroup
		var mu sync.Mutex
		next, slowest := 0, time.Duration(0)
		for range 256 {
			all.Go(func() {
				for {
					mu.Lock()
					i := next
					next++
					mu.Unlock()
					if i >= 10_000 {
						return
					}
					start := time.Now()
					if _, err := v.Verify(t.Context(), networkA, unknownKey(i), Use); err != nil {
						t.Errorf("key %d: %v", i, err)
					}
					mu.Lock()
					slowest = max(slowest, time.Since(start))
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if calls := len(s.sizes()); calls > 160 || slowest > 3*roundTrip {
			t.Errorf("%d calls, the slowest answer after %s", calls, slowest)
		}
	})
}

func TestACallHoldsNoMoreBytesThanItMay(t *testing.T) {
	config := setup{Config{}, Limits{Calls: 1, Bytes: 1000}}
	atRoundTrip(t, config, func(t bubble, v *Verifier, s *fakeSource) {
		var answers []<-chan asked
		for i, size := range []int{10, 400, 500, 200, 5000, 10} {
			answers = append(answers, asking(t, v, fmt.Sprint("key:", i, strings.Repeat("x", size)), someone))
		}
		for _, answer := range answers {
			if a := <-answer; a.err != nil {
				t.Error(a.err)
			}
		}
		if got, want := s.sizes(), []int{1, 2, 1, 1, 1}; !slices.Equal(got, want) {
			t.Errorf("the calls held %v, want %v", got, want)
		}
	})
}

func TestACredentialThatMustNotShareACallTakesTurns(t *testing.T) {
	config := setup{Config{}, Limits{Calls: 1}}
	atRoundTrip(t, config, func(t bubble, v *Verifier, s *fakeSource) {
		answers := []<-chan asked{asking(t, v, "key:first", someone)}
		for i := range 3 {
			answers = append(answers, asking(t, v, fmt.Sprint("key:opaque-", i), someone))
		}
		for i := range 20 {
			answers = append(answers, asking(t, v, unknownKey(i), someone))
		}
		for _, answer := range answers {
			if a := <-answer; a.err != nil {
				t.Error(a.err)
			}
		}
		if got, want := s.sizes(), []int{1, 1, 20, 1, 1}; !slices.Equal(got, want) {
			t.Errorf("the calls held %v, want %v", got, want)
		}
	})
}

func TestAttack04_CredentialsThatClaimOneKeyShareNoCall(t *testing.T) {
	config := setup{Config{}, Limits{Calls: 1, Items: 10}}
	atRoundTrip(t, config, func(t bubble, v *Verifier, s *fakeSource) {
		answers := []<-chan asked{asking(t, v, "key:first", someone)}
		for i := range 3 { // of the same client, and before the others
			answers = append(answers, asking(t, v, fmt.Sprint("key:of-victim-", i), someone))
		}
		for i := range 5 {
			answers = append(answers, asking(t, v, unknownKey(i), someone))
		}
		for _, answer := range answers {
			if a := <-answer; a.err != nil {
				t.Error(a.err)
			}
		}
		if got, want := s.sizes(), []int{1, 6, 1, 1}; !slices.Equal(got, want) {
			t.Errorf("the calls held %v, want %v", got, want)
		}
	})
}

func TestAttack02_NetworksTakeTurnsAndNeverShareACall(t *testing.T) {
	config := setup{Config{}, Limits{Calls: 1, Items: 2}}
	atRoundTrip(t, config, func(t bubble, v *Verifier, s *fakeSource) {
		var all sync.WaitGroup
		for _, n := range []core.NetworkID{networkA, networkB} {
			for i := range 7 {
				all.Go(func() {
					if r, err := v.Verify(t.Context(), n, unknownKey(i), Use); err != nil || r.Verdict.Network != n {
						t.Errorf("got %v, %v", r.Verdict, err)
					}
				})
				synctest.Wait()
			}
		}
		all.Wait()
		var order []string
		for _, c := range s.made() {
			order = append(order, map[core.NetworkID]string{networkA: "A", networkB: "B"}[c.network])
		}
		if got := strings.Join(order, ""); got != "AABABABB" && got != "ABABABAB" {
			t.Errorf("the order of the calls was %s", got)
		}
	})
}

func TestAttack08_AFullQueueRefusesTheClientThatHasTheMostInIt(t *testing.T) {
	config := setup{Config{MaxWaiting: 10, LookupTimeout: time.Minute}, Limits{Calls: 1, Items: 1}}
	atRoundTrip(t, config, func(t bubble, v *Verifier, _ *fakeSource) {
		var many []<-chan asked
		for i := range 11 {
			many = append(many, asking(t, v, unknownKey(i), someone)) // one goes, ten wait
		}
		if a := <-asking(t, v, "key:one-more", someone); core.ReasonOf(a.err) != core.Unavailable || a.took != 0 {
			t.Errorf("one more of the same: got %v after %s", a.err, a.took)
		}
		few := []<-chan asked{asking(t, v, "key:x", another), asking(t, v, "key:y", another)}
		for _, answer := range few {
			if a := <-answer; a.err != nil {
				t.Errorf("another client got %v", a.err)
			}
		}
		refused := 0
		for _, answer := range many {
			if a := <-answer; a.err != nil {
				refused++
			}
		}
		if refused != 2 {
			t.Errorf("%d were refused to make room for two, want 2", refused)
		}
	})
}

func TestAttack08_ClientsTakeTurns(t *testing.T) {
	config := setup{Config{LookupTimeout: time.Minute}, Limits{Calls: 1, Items: 10}}
	atRoundTrip(t, config, func(t bubble, v *Verifier, _ *fakeSource) {
		for i := range 1000 {
			_ = asking(t, v, unknownKey(i), someone)
		}
		// An IPv6 client is its /64, however many addresses of it it uses.
		for i := range 1000 {
			_ = asking(t, v, fmt.Sprint("key:six-", i), fmt.Sprintf("2001:db8::%x", i+1))
		}
		if a := <-asking(t, v, "key:x", another); a.err != nil || a.took > 2*roundTrip {
			t.Errorf("a client with one credential got %v after %s", a.err, a.took)
		}
	})
}

// keepKnown puts keys into the cache that are to be refreshed soon.
func keepKnown(t *testing.T, v *Verifier, n int) []string {
	t.Helper()
	credentials := make([]string, n)
	for i := range credentials {
		credentials[i] = fmt.Sprint("key:", keyOf(i))
		want(t, v, credentials[i], core.CodeValid, Miss)
	}
	return credentials
}

func TestAttack08_KnownKeysComeFirstAndLeaveAnEighth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ids := make([]string, 20)
		for i := range ids {
			ids[i] = keyOf(i)
		}
		s := farSource(roundTrip, ids...)
		v := newVerifier(t, setup{Config{TTL: time.Second, LookupTimeout: time.Minute}, Limits{Calls: 1, Items: 8}}, s)
		known := keepKnown(t, v, len(ids))
		time.Sleep(2 * time.Second) // past their lifetime
		before := len(s.made())
		var answers []<-chan asked
		for i := range 30 {
			answers = append(answers, asking(t, v, unknownKey(i), someone))
		}
		for _, c := range known {
			answers = append(answers, asking(t, v, c, another))
		}
		for _, answer := range answers {
			if a := <-answer; a.err != nil {
				t.Error(a.err)
			}
		}
		calls := s.made()[before+1:] // but the first, which went at once
		for i, c := range calls[:3] {
			unknown := 0
			for _, credential := range c.credentials {
				if strings.Contains(credential, "unknown") {
					unknown++
				}
			}
			if unknown > 2 || i < 2 && unknown != 1 {
				t.Errorf("call %d holds %d unknown keys of %d", i, unknown, len(c.credentials))
			}
		}
	})
}

func TestAttack08_A429DelaysUnknownKeysAndKnownKeysGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := farSource(roundTrip, keyOf(0))
		s.enter = func(_ context.Context, credential string) error {
			if strings.Contains(credential, "unknown") {
				return &core.Error{Reason: core.Unavailable, Err: ErrThrottled, RetryAfter: 30 * time.Second}
			}
			return nil
		}
		s.whole = true // one refused credential is the refusal of the call
		config := edgeConfig
		config.TTL = time.Second
		v := newVerifier(t, config, s)
		known := keepKnown(t, v, 1)[0]
		for round := range 20 {
			time.Sleep(1200 * time.Millisecond) // past its lifetime
			var unknown []<-chan asked
			for i := range 10 {
				unknown = append(unknown, asking(t, v, unknownKey(100*round+i), someone))
			}
			a := <-asking(t, v, known, another)
			if a.err != nil || a.result.Cache == Stale || a.took > 3*roundTrip {
				t.Errorf("round %d: the known key got %+v after %s", round, a.result, a.took)
			}
			for _, answer := range unknown {
				if a := <-answer; core.ReasonOf(a.err) != core.Unavailable {
					t.Errorf("round %d: an unknown key got %v", round, a.err)
				}
			}
		}
		refused := 0
		for _, c := range s.made() {
			if strings.Contains(c.credentials[0], "unknown") {
				refused++
			}
		}
		if refused > 15 { // of 20 rounds of ten: the time between two doubles
			t.Errorf("%d calls were made only to be refused", refused)
		}
		s.set(func(s *fakeSource) { s.enter = nil })
		time.Sleep(31 * time.Second)
		if a := <-asking(t, v, "key:unknown-new", someone); a.err != nil {
			t.Errorf("when it is over, an unknown key gets %v", a.err)
		}
	})
}

func TestAttack08_AMixedBatchDoesNotOverfillTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const room = 10
		s := farSource(roundTrip)
		for i := range 50 {
			s.create(networkA, keyOf(i))
		}
		c := Config{MaxWaiting: room, TTL: time.Second, LookupTimeout: time.Minute}
		v := newVerifier(t, setup{c, Limits{Calls: 1}}, s)
		known := keepKnown(t, v, 50)
		time.Sleep(2 * time.Second) // past their lifetime
		var all sync.WaitGroup
		defer all.Wait()
		_ = asking(t, v, "key:first", someone) // the call that is out
		for batch := range 5 {
			var credentials []string
			for i := range 10 {
				credentials = append(credentials, unknownKey(10*batch+i), known[10*batch+i])
			}
			all.Go(func() { v.VerifyMany(t.Context(), networkA, credentials, Use) })
			synctest.Wait()
			if n := v.Stats().Waiting; n > room {
				t.Errorf("after %d batches %d look-ups wait, there is room for %d", batch+1, n, room)
			}
		}
	})
}
