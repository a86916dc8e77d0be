package upstream

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/usage"
	"github.com/talos-edge/talos-edge/core/verify"
)

var useOfA = []core.Use{{KeyID: "a", Time: time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)}}

// noting makes a stand-in take reports as our own server does.
func noting(s *standIn, noted *usage.Recorder) {
	network := adminapi.Network{Used: noted.Record}
	own := adminapi.Admin(adminapi.Options{
		Network: func(*http.Request) (adminapi.Network, error) { return network, nil },
	})
	s.set(func() {
		s.fault = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			if r.URL.Path != "/v2alpha1/admin/edges:report" {
				return false
			}
			again := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.Path, bytes.NewReader(body))
			again.Header = r.Header
			own.ServeHTTP(w, again)
			return true
		}
	})
}

// above is how many lines of a log are above a level.
func above(logs *observer.ObservedLogs, level zapcore.Level) int {
	return logs.Filter(func(e observer.LoggedEntry) bool { return e.Level > level }).Len()
}

func TestAUseAtAnEdgeIsReportedToItsUpstream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStandIn()
		s.edge = true
		cred, keyID := s.add(t, nil)
		var noted, seen usage.Recorder
		noting(s, &noted)
		u, logs := inMemory(t, s, func(c *Config) { c.Header = http.Header{"Authorization": {"Bearer edge"}} })
		v := verifying(t, u, verify.Config{Used: seen.Record})
		for range 10 {
			expect(t, v, cred, core.CodeValid, "a use")
		}
		used := time.Now()
		time.Sleep(time.Minute)
		if err := u.ReportUse(t.Context(), seen.Drain()); err != nil {
			t.Fatal(err)
		}
		uses := noted.Drain()
		if len(uses) != 1 || uses[0].KeyID != keyID || !uses[0].Time.Equal(used) {
			t.Errorf("reported is %v, want %s at %v", uses, keyID, used)
		}
		for _, call := range s.calls("edges:report") {
			if call.header.Get("Authorization") != "Bearer edge" {
				t.Errorf("the report has the headers %v", call.header)
			}
		}
		noSecret(t, logs, nil, cred)
	})
}

func TestManyUsesAreReportedInParts(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	var noted usage.Recorder
	noting(s, &noted)
	u, _ := overNetwork(t, s, nil)
	uses := make([]core.Use, 2500)
	for i := range uses {
		uses[i] = core.Use{KeyID: strconv.Itoa(i), Time: useOfA[0].Time}
	}
	if err := u.ReportUse(t.Context(), uses); err != nil {
		t.Fatal(err)
	}
	if calls, all := len(s.calls("edges:report")), len(noted.Drain()); calls != 3 || all != len(uses) {
		t.Errorf("%d uses were reported with %d calls", all, calls)
	}
}

func TestAnUpstreamThatTakesNoReportsIsNotAskedForAnHour(t *testing.T) {
	t.Parallel()
	for _, status := range []int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStandIn()
			s.fault = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool { w.WriteHeader(status); return true }
			u, logs := inMemory(t, s, nil)
			report := func(when string, calls int) {
				t.Helper()
				if err := u.ReportUse(t.Context(), useOfA); err != nil {
					t.Errorf("%d, %s: %v", status, when, err)
				}
				if n := len(s.calls("edges:report")); n != calls {
					t.Errorf("%d, %s: %d calls, want %d", status, when, n, calls)
				}
			}
			report("the first", 1)
			time.Sleep(time.Hour - time.Second)
			report("within an hour", 1)
			time.Sleep(time.Second)
			report("after an hour", 2)
			if louder := above(logs, zap.DebugLevel); louder != 0 {
				t.Errorf("%d: the log has %v", status, logs.All())
			}
		})
	}
}

func TestAReportThatFailsIsAnErrorAndOpensNoBreaker(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(w http.ResponseWriter){
		"500":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"429":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) },
		"HTML": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStandIn()
			s.fault = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool { fault(w); return true }
			u, logs := inMemory(t, s, func(c *Config) { c.Breaker = Breaker{Failures: 2, Pause: time.Hour} })
			for range 5 {
				if err := u.ReportUse(t.Context(), useOfA); core.ReasonOf(err) != core.Unavailable || err == nil {
					t.Errorf("%s: got %v", name, err)
				}
			}
			if err := u.Admit(); err != nil {
				t.Errorf("%s: look-ups are refused: %v", name, err)
			}
			if louder := above(logs, zap.DebugLevel); louder != 0 {
				t.Errorf("%s: the log has %v", name, logs.All())
			}
		})
	}
}
