package engine_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// Each field is taken at its limit and refused one beyond.
func TestIssue_TheFieldsLimits(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), func(c *engine.Config) { c.MaxTTL = core.MaxTTL })
	text := strings.Repeat
	for name, field := range map[string]struct {
		last int
		set  func(r *engine.IssueRequest, n int)
	}{
		"name":       {1024, func(r *engine.IssueRequest, n int) { r.Name = text("x", n) }},
		"actor_id":   {1024, func(r *engine.IssueRequest, n int) { r.ActorID = text("x", n) }},
		"request_id": {36, func(r *engine.IssueRequest, n int) { r.RequestID = text("ä", n) }},
		"one scope":  {4096, func(r *engine.IssueRequest, n int) { r.Scopes = []string{text("x", n)} }},
		"scopes with a space between": {4096, func(r *engine.IssueRequest, n int) {
			r.Scopes = []string{text("x", 1000), text("y", 2000), text("z", n-3002)}
		}},
		"metadata": {4096, func(r *engine.IssueRequest, n int) {
			r.Metadata = json.RawMessage(` { "k" : "` + text("x", n-len(`{"k":""}`)) + `" } `)
		}},
		"allowed_cidrs": {128, func(r *engine.IssueRequest, n int) {
			for i := range n {
				addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
				r.AllowedCIDRs = append(r.AllowedCIDRs, netip.PrefixFrom(addr, 32))
			}
		}},
		"ttl in seconds": {
			315360000, func(r *engine.IssueRequest, n int) { r.TTL = new(time.Duration(n) * time.Second) },
		},
		"window in days": {366, func(r *engine.IssueRequest, n int) {
			r.RateLimit = core.RateLimitPolicy{Quota: 1, Window: time.Duration(n) * 24 * time.Hour}
		}},
		"unit": {64, func(r *engine.IssueRequest, n int) {
			r.RateLimit = core.RateLimitPolicy{Quota: 1, Window: time.Second, Unit: text("u", n)}
		}},
	} {
		for n, want := range map[int]core.Reason{field.last: "", field.last + 1: core.BadRequest} {
			r := engine.IssueRequest{Name: "n", ActorID: "a"}
			field.set(&r, n)
			_, _, err := e.Issue(t.Context(), r)
			if (err == nil) != (want == "") || (err != nil && core.ReasonOf(err) != want) {
				t.Errorf("%s of %d: %v, want reason %q", name, n, err, want)
			}
		}
	}
}
