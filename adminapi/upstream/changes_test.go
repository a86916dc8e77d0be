package upstream

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestAttack05_AChangeThatPassedThroughIsBelievedAtOnce(t *testing.T) {
	t.Parallel()
	for _, place := range []uint64{0, 42} { // it is not told, or it is
		t.Run(strconv.FormatUint(place, 10), func(t *testing.T) {
			t.Parallel()
			changesUnderWay(t, place)
		})
	}
}

// changesUnderWay revokes a key, at a place in the upstream's feed, while it is looked up.
func changesUnderWay(t *testing.T, place uint64) {
	t.Helper()
	s := newStandIn()
	s.edge, s.position = true, place
	cred, keyID := s.add(t, nil)
	began, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.fault = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		first := false
		once.Do(func() { first = true })
		if !first {
			return false
		}
		close(began)
		<-goOn
		return saying(200, jsonType,
			`{"results":[{"is_valid":true,"status":"KEY_STATUS_ACTIVE","key_id":"`+keyID+`"}]}`,
			"Talos-Edge", "1", "Talos-Position", "5")(w, r, body)
	}
	u, _ := open(t, nil, serve(t, s, "").URL)
	v := verifying(t, u, verify.Config{})
	under := make(chan verify.Result, 1)
	go func() {
		r, _ := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
		under <- r
	}()
	<-began
	s.set(func() {
		s.results[cred]["is_valid"], s.results[cred]["error_code"] = false, "VERIFICATION_ERROR_REVOKED"
	})
	u.Forget(core.NetworkID{}, keyID, place)
	expect(t, v, cred, core.CodeRevoked, "after the change")
	close(goOn)
	if r := <-under; r.Verdict == nil || r.Verdict.Code != core.CodeRevoked {
		t.Errorf("the one under way: got %+v", r)
	}
	expect(t, v, cred, core.CodeRevoked, "in the end")
}

func TestAttack05_ACopyThatIsBehindBringsNoRevokedKeyBack(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge, s.position = true, 41 // behind: the revocation is 42
	cred, keyID := s.add(t, nil)
	other, _ := s.add(t, nil)
	u, _ := open(t, nil, serve(t, s, "").URL)
	v := verifying(t, u, verify.Config{})
	r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
	if err != nil || r.Verdict.Code != core.CodeValid {
		t.Fatalf("got %+v, %v", r, err)
	}
	u.Forget(core.NetworkID{}, keyID, 42)
	u.Forget(core.NetworkID{}, keyID, 40) // late news
	r, err = v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
	if core.ReasonOf(err) != core.Unavailable || err == nil {
		t.Errorf("got %+v, %v", r, err)
	}
	expect(t, v, other, core.CodeValid, "another key")
	results := v.VerifyMany(t.Context(), core.NetworkID{}, []string{cred, other}, verify.NoCache)
	if core.ReasonOf(results[0].Err) != core.Unavailable || results[0].Err == nil || results[1].Err != nil {
		t.Errorf("together: got %+v", results)
	}
	s.set(func() {
		s.position = 42
		s.results[cred]["is_valid"], s.results[cred]["error_code"] = false, "VERIFICATION_ERROR_REVOKED"
	})
	expect(t, v, cred, core.CodeRevoked, "in the end")
}

func TestAnUpstreamThatCountsAnewIsBelievedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &changes{floors: make(map[feed.Slot]floor)}
		want := func(position uint64, believed bool) {
			t.Helper()
			if got := c.upToDate(core.NetworkID{}, "k", position); got != believed {
				t.Errorf("position %d: got %t", position, got)
			}
		}
		c.forget(core.NetworkID{}, "k", 1000)
		time.Sleep(floorLifetime - time.Second)
		c.forget(core.NetworkID{}, "k", 5) // it was replaced, or this is late news
		want(5, false)
		time.Sleep(time.Second)
		want(5, true)
		c.forget(core.NetworkID{}, "k", 6)
		want(5, false)
		want(6, true)
		time.Sleep(floorLifetime)
		c.forget(core.NetworkID{}, "k", 2) // it was replaced once more
		want(1, false)
		want(2, true)
	})
}

func TestAChangeOfAnyKeyMakesEveryVerdictOfBeforeTooOld(t *testing.T) {
	t.Parallel()
	for _, place := range []uint64{0, 42} { // it is not told, or it is
		s := newStandIn()
		s.edge, s.position = true, 42
		cred, _ := s.add(t, nil)
		u, _ := open(t, nil, serve(t, s, "").URL)
		v := verifying(t, u, verify.Config{})
		expect(t, v, cred, core.CodeValid, "before")
		s.set(func() {
			s.results[cred]["is_valid"], s.results[cred]["error_code"] = false, "VERIFICATION_ERROR_REVOKED"
		})
		u.ForgetAll(place)
		expect(t, v, cred, core.CodeRevoked, "after a change at "+strconv.FormatUint(place, 10))
	}
}

func TestAfterAChangeOfAnyKeyAnswersOfBeforeAreNotBelieved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &changes{floors: make(map[feed.Slot]floor)}
		c.forgetAll(10)
		if c.upToDate(core.NetworkID{}, "k", 9) || !c.upToDate(core.NetworkID{}, "k", 10) {
			t.Error("an answer from before the change is believed, or one from after it is not")
		}
		if c.skipsCaches(core.NetworkID{}, "k") {
			t.Error("a change with a position lets no cache answer")
		}
		c.forgetAll(0)
		if !c.skipsCaches(core.NetworkID{}, "k") || !c.skipsCaches(core.NetworkID{}, "") {
			t.Error("after a change without a position, a cache may answer")
		}
		time.Sleep(floorLifetime)
		if !c.upToDate(core.NetworkID{}, "k", 1) || c.skipsCaches(core.NetworkID{}, "k") {
			t.Error("the change counts for longer than it should")
		}
	})
}

func TestFloorsAreLookedThroughSeldomAndLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &changes{floors: make(map[feed.Slot]floor)}
		changed := 0
		change := func(n int) {
			for range n {
				changed++
				c.forget(core.NetworkID{}, strconv.Itoa(changed), uint64(changed))
			}
		}
		change(20_000)
		if held := len(c.floors); c.full < held || c.full > 2*held {
			t.Errorf("%d floors are looked through at %d", held, c.full)
		}
		time.Sleep(floorLifetime)
		change(40_000)
		if held := len(c.floors); held > 35_000 { // of 39,000 slots
			t.Errorf("%d floors, of which many are over", held)
		}
	})
}

func TestAttack06_TheCreationOfAKeyEndsItsNegative(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	cred, keyID := mint(t)
	u, _ := open(t, nil, serve(t, s, "").URL)
	v := verifying(t, u, verify.Config{})
	if r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use); err != nil ||
		r.Verdict.Code != core.CodeNotFound {
		t.Fatalf("got %+v, %v", r, err)
	}
	s.set(func() { s.results[cred] = good(keyID) })
	u.Forget(core.NetworkID{}, keyID, 0)
	expect(t, v, cred, core.CodeValid, "in the end")
}
