package doctor_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/doctor"
)

func TestTheUpstreamOfASidecarIsAsked(t *testing.T) {
	const verdict = `{"is_valid":false}`
	answer := func(status int, edge, body string, date time.Time) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer a-token" || r.URL.Path != "/v2alpha1/admin/apiKeys:verify" {
				status = http.StatusTeapot
			}
			w.Header().Set("Talos-Edge", edge)
			w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	now := time.Now()
	for name, c := range map[string]struct {
		handler  http.HandlerFunc
		check    string
		severity doctor.Severity
		what     string // empty: no finding
	}{
		"good":                   {answer(200, "1", verdict, now), "", "", ""},
		"another implementation": {answer(200, "", verdict, now), "upstream", doctor.Note, "implementation"},
		"no token":               {answer(401, "", "{}", now), "upstream", doctor.Error, "refuses this sidecar"},
		"another server":         {answer(200, "", "<html>", now), "upstream", doctor.Error, "something else than"},
		"a wrong path":           {answer(404, "", "{}", now), "upstream", doctor.Error, "answers HTTP 404"},
		"a clock ahead":          {answer(200, "1", verdict, now.Add(time.Hour)), "clock", doctor.Error, "ahead of"},
		"a clock far behind":     {answer(200, "1", verdict, now.Add(-time.Hour)), "clock", doctor.Error, "behind"},
		"gone":                   {nil, "upstream", doctor.Error, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			if c.handler == nil {
				server.Close()
			}
			defer server.Close()
			report := examine(t, &fault{replace: []string{
				"storage sqlite://DIR/talos.db\n\t\thmac_secret {env.TALOS_TEST_DOCTOR_SECRET}",
				"upstream " + server.URL + " {\n\t\t\theader Authorization \"Bearer a-token\"\n\t\t}",
			}})
			if c.what != "" {
				want(t, report, c.check, c.severity, c.what)
			} else if report.Worst() != "" {
				t.Errorf("found %+v", report.Findings)
			}
			if text, err := json.Marshal(report); err != nil || strings.Contains(string(text), "a-token") {
				t.Errorf("the token is in the report: %v", err)
			}
		})
	}
}
