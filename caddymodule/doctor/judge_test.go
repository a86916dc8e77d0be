package doctor

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/internal/ports"
)

// severityOf is that of the one finding, or empty.
func severityOf(t *testing.T, found []Finding) Severity {
	t.Helper()
	if len(found) > 1 {
		t.Errorf("found %+v", found)
	}
	for _, f := range found {
		return f.Severity
	}
	return ""
}

// What a test cannot do to its machine is judged from numbers.
func TestTheMachineIsJudged(t *testing.T) {
	t.Parallel()
	now := time.Now()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		got  []Finding
		want Severity
	}{
		"a full disk":               {judgeSpace("x", 1<<20, 1<<20), Error},
		"little space":              {judgeSpace("x", 100<<20, 1<<20), Warning},
		"too little to copy":        {judgeSpace("x", 1<<30, 10<<30), Warning},
		"space":                     {judgeSpace("x", 1<<30, 1<<20), ""},
		"few files":                 {judgeFiles(1024), Warning},
		"files":                     {judgeFiles(1 << 20), ""},
		"a cache beyond the memory": {judgeMemory(1<<30, 2<<30), Error},
		"a large cache":             {judgeMemory(1<<30, 600<<20), Warning},
		"a cache that fits":         {judgeMemory(1<<30, 100<<20), ""},
		"a time just now":           {judgeTime("x", now, now), ""},
		"a time a minute ahead":     {judgeTime("x", now.Add(time.Minute), now), Warning},
		"a time an hour ahead":      {judgeTime("x", now.Add(time.Hour), now), Error},
		"a port of the node":        {judgeHolders("x", []ports.Process{{ID: 1, Exe: self}}), ""},
		"a port of another caddy":   {judgeHolders("x", []ports.Process{{ID: 1, Exe: "/usr/bin/caddy (deleted)"}}), ""},
		"a port of another program": {judgeHolders("x", []ports.Process{{ID: 1, Exe: "/usr/sbin/nginx"}}), Error},
		"a port of nobody knows":    {judgeHolders("x", nil), Note},
		"a port of two nodes":       {judgeHolders("x", []ports.Process{{Exe: self}, {Exe: self}}), Error},
	} {
		if got := severityOf(t, c.got); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestAnAppThatAnswersBeyondLoopbackIsFound(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dial := l.Addr().String()
	for name, c := range map[string]struct {
		own  string // what passes for an address that others reach
		want Severity
	}{"reached": {"127.0.0.1", Error}, "not reached": {"::1", ""}} {
		found := judgeApp(t.Context(), dial, "the gate", []netip.Addr{netip.MustParseAddr(c.own)})
		if got := severityOf(t, found); got != c.want {
			t.Errorf("%s: %+v", name, found)
		}
	}
	for _, other := range []string{"unix//run/app.sock", "{http.request.host}:80"} {
		if found := judgeApp(t.Context(), other, "the gate", nil); len(found) > 0 {
			t.Errorf("%s: %+v", other, found)
		}
	}
}
