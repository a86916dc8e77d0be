package talostest

import (
	"regexp"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
)

// Ports has a free port in the place of each port that a file or a page names.
type Ports map[string]string

// NewPorts finds a free port for each of the names.
func NewPorts(tb testing.TB, names ...string) Ports {
	tb.Helper()
	p := Ports{}
	for _, name := range names {
		p[name] = freeport.Port(tb)
	}
	return p
}

// In is a text with the free ports.
func (p Ports) In(text string) string {
	for from, to := range p {
		text = regexp.MustCompile(`\b`+from+`\b`).ReplaceAllString(text, to)
	}
	return text
}
