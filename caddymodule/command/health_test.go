package command

import (
	"net/http"
	"strings"
	"testing"
)

func TestHealthAsksWhetherTheServerIsAliveOrReady(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		reply reply
		path  string
		want  string // in the error; empty: none
	}{
		"alive":          {nil, reply{http.StatusOK, `{"status":"ok"}`}, "/health/alive", ""},
		"ready":          {[]string{"--ready"}, reply{http.StatusOK, `{"status":"ok"}`}, "/health/ready", ""},
		"not ready":      {[]string{"--ready"}, reply{http.StatusServiceUnavailable, `{}`}, "/health/ready", "503"},
		"no such path":   {nil, reply{http.StatusNotFound, ``}, "/health/alive", "404"},
		"another server": {nil, reply{http.StatusOK, `<html>`}, "/health/alive", "not one of the"},
		"another answer": {nil, reply{http.StatusOK, `{"status":"no"}`}, "/health/alive", "not one of the"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint, seen := stub(t, c.reply)
			stdout, _, err := runTree(t.Context(), "", append([]string{"health", "-e", endpoint}, c.args...)...)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			if got := seen.Load(); got.method != http.MethodGet || got.path != c.path || stdout != "" {
				t.Errorf("asked for %s %s, printed %q", got.method, got.path, stdout)
			}
		})
	}
}
