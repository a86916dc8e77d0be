package upstream

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

func TestALimitThatIsLeftToTheEdgeIsTakenOverOrAnError(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]core.RateLimitPolicy{
		`null`:                         {},
		`{}`:                           {},
		`{"quota":"0","window":"60s"}`: {},
		`{"quota":"100","window":"60s","unit":"requests"}`: {Quota: 100, Window: time.Minute, Unit: "requests"},
		`{"quota":5,"window":"1s"}`:                        {Quota: 5, Window: time.Second},
	} {
		key, err := left(t, policy)
		if err != nil || key.RateLimit != want {
			t.Errorf("%s: got %+v, %v", policy, key.RateLimit, err)
		}
	}
	for _, policy := range []string{
		`{"quota":"-1","window":"60s"}`, `{"quota":"5"}`, `{"quota":"5","window":"soon"}`,
		`{"quota":"5","window":"1ms"}`,
		`{"quota":"5","window":"11y"}`,
	} {
		if key, err := left(t, policy); err == nil {
			t.Errorf("%s: got %+v", policy, key.RateLimit)
		}
	}
}

func TestALineageIsTakenOverOrAnError(t *testing.T) {
	t.Parallel()
	for lineage, want := range map[string]string{`""`: "", `null`: "", `"first"`: "first"} {
		if key, err := left(t, `null,"lineage_id":`+lineage); err != nil || key.LineageID != want {
			t.Errorf("%s: got %q, %v", lineage, key.LineageID, err)
		}
	}
	for _, lineage := range []string{`"a b"`, `"a\r\nb"`, `"` + strings.Repeat("x", 200) + `"`} {
		if key, err := left(t, `null,"lineage_id":`+lineage); err == nil {
			t.Errorf("%s: got %q", lineage, key.LineageID)
		}
	}
}

// left is a key as it is with what an upstream leaves to the edge.
func left(t *testing.T, policy string) (key core.Key, err error) {
	t.Helper()
	result := json.RawMessage(`{"is_valid":true,"rate_limit_policy":` + policy + `}`)
	a := decode(result, client.EdgeAnswer{})
	if a.err != nil {
		t.Fatalf("%s: %v", policy, a.err)
	}
	err = a.wire.takeLimits(&key)
	return key, err
}
