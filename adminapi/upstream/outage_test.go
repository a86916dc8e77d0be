package upstream

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/outage"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// What each result of a call says: which kind of outage it is of, and which kinds it ends.
func TestEachResultOfACallShowsTheStateOfTheUpstream(t *testing.T) {
	t.Parallel()
	kinds := map[Result]string{
		ResultOK: "", ResultRejected: "", ResultThrottled: "429", ResultMisconfigured: "refuses",
		ResultFailed: "silent", ResultGarbage: "silent", ResultTimeout: "silent", ResultUnreachable: "silent",
		ResultCanceled: "nothing", ResultRefused: "nothing",
	}
	for _, before := range Results {
		for _, after := range Results {
			synctest.Test(t, func(t *testing.T) {
				o := newOutages(&Config{Logger: zap.NewNop()})
				defer o.close()
				for _, r := range []Result{before, after} {
					f := &failure{result: r, cause: errors.New("x")}
					if r == ResultOK {
						f = nil
					}
					o.note(f)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				active := map[string]bool{
					"silent": o.silent.Active(), "refuses": o.refusing.Active(), "429": o.throttled.Active(),
				}
				was, is := kinds[before], kinds[after]
				for kind, got := range active {
					goesOn := is == "nothing" || is == "silent" || kind == "429" && is == "refuses"
					want := is == kind || was == kind && goesOn
					if got != want {
						t.Errorf("%s, then %s: the outage %q is %v", before, after, kind, got)
					}
				}
			})
		}
	}
}

func TestAnOutageIsTwoLinesWithWhatWasServedAndRefused(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	cred, _ := s.add(t, nil)
	unknown, _ := mint(t)
	var v *verify.Verifier
	u, logs := open(t, func(c *Config) {
		c.StaleIfError = 5 * time.Minute
		c.Counts = func() outage.Counts {
			stats := v.Stats()
			return outage.Counts{Stale: stats.Requests[verify.Stale], Refused: stats.Failed}
		}
	}, serve(t, s, "").URL)
	v = verifying(t, u, verify.Config{TTL: time.Second})
	eventually(t, "the verdict is in the cache", func() bool {
		r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
		return err == nil && r.Cache == verify.Hit
	})
	s.set(func() { s.fault = saying(503, jsonType, envelope) })
	stale, refused := uint64(0), uint64(0)
	eventually(t, "the verdict is served stale", func() bool {
		r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
		if err != nil {
			t.Fatal(err)
		}
		if r.Cache == verify.Stale {
			stale++
		}
		return stale == 3
	})
	for range 100 {
		if _, err := v.Verify(t.Context(), core.NetworkID{}, unknown, verify.Use); err == nil {
			t.Fatal("an unknown key has an answer")
		}
		refused++
	}
	if !u.Outage() {
		t.Error("there is no outage")
	}
	loud := func() []observer.LoggedEntry { return logs.Filter(isLoud).All() }
	if all := loud(); len(all) != 1 || all[0].Level != zap.ErrorLevel ||
		all[0].ContextMap()["stale_if_error"] != 5*time.Minute {
		t.Fatalf("while it lasts, the log has %v", all)
	}
	s.set(func() { s.fault = nil })
	eventually(t, "the end is logged", func() bool {
		_, _ = v.Verify(t.Context(), core.NetworkID{}, unknown, verify.NoCache)
		return !u.Outage()
	})
	all := loud()
	if len(all) != 2 || all[1].Message != "the upstream answers again" || all[1].Level != zap.InfoLevel {
		t.Fatalf("after it, the log has %v", all)
	}
	f := all[1].ContextMap()
	told, ok := f["refused"].(uint64)
	if f["served_stale"] != stale || !ok || told < refused-1 || told > v.Stats().Failed {
		t.Errorf("%d were served stale and %d refused; the line has %v", stale, v.Stats().Failed, f)
	}
	noSecret(t, logs, nil, cred, unknown)
}

func isLoud(e observer.LoggedEntry) bool { return e.Level >= zap.InfoLevel }

func TestOneAddressOfSeveralThatFailsIsLoggedByItself(t *testing.T) {
	t.Parallel()
	first, second := newStandIn(), newStandIn()
	first.edge, second.edge = true, true
	first.fault = func(w http.ResponseWriter, r *http.Request, b []byte) bool {
		return saying(500, jsonType, envelope)(w, r, b)
	}
	u, logs := open(t, func(c *Config) { c.Breaker.Failures = 2 }, serve(t, first, "").URL, serve(t, second, "").URL)
	eventually(t, "its breaker is open", func() bool {
		u.pool.current.Store(0)
		cred, _ := mint(t)
		if _, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err != nil {
			t.Fatal(err)
		}
		return u.Breakers()[0].State == "open"
	})
	all := logs.Filter(isLoud).All()
	if len(all) != 1 || all[0].Level != zap.WarnLevel || all[0].ContextMap()["address"] != u.Breakers()[0].Address {
		t.Errorf("the log has %v", all)
	}
	if u.Outage() {
		t.Error("the upstream has an outage, although it answers")
	}
}

func TestThatAnAddressAnswersAgainIsLoggedByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		a := &address{watch: newAddressWatch(zap.New(core), "http://a")}
		defer a.watch.Close()
		p := &pool{addresses: []*address{a, {}}}
		a.watch.Failed(errors.New("x"))
		p.noteAddress(a, &failure{result: ResultCanceled})
		time.Sleep(time.Minute)
		if !a.watch.Active() {
			t.Error("a call that was cut short is an answer")
		}
		p.noteAddress(a, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		all := logs.All()
		if len(all) != 2 || all[1].Level != zap.InfoLevel || all[1].ContextMap()["address"] != "http://a" {
			t.Errorf("the log has %v", all)
		}
	})
}

// Anybody can ask for the key set. An outage is one of look-ups.
func TestAKeySetThatCannotBeReadIsNoOutage(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.fault = saying(503, jsonType, envelope)
	u, _ := open(t, nil, serve(t, s, "").URL)
	if _, err := u.JWKS(t.Context(), core.NetworkID{}); err == nil {
		t.Fatal("no error")
	}
	if u.Outage() {
		t.Error("an outage goes on")
	}
}
