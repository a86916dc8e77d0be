package verify

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

func TestTheVerdictOfAnEntryIsTheSame(t *testing.T) {
	t.Parallel()
	for _, scopes := range [][]string{nil, {"a"}, {"a", "b:c", "d"}, {"a", "b", "c", "d"}} {
		for _, long := range []int{0, 30, 5000} {
			key := testKey(networkA, keyOf(1))
			key.ActorID, key.Scopes = "actor, "+strings.Repeat("x", long), scopes
			key.Metadata = json.RawMessage(`{"plan":"pro"}`)
			key.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			key.RateLimit = core.RateLimitPolicy{Quota: 5, Unit: "requests", Window: time.Minute}
			v := core.NewVerdict(&key, "issuer", key.CreateTime)
			if got := newEntry(v).verdict; !reflect.DeepEqual(&got, v) {
				t.Errorf("got %+v, want %+v", got, v)
			}
		}
	}
}

func TestAnEntryTakesAVerdictWithoutAnIdentity(t *testing.T) {
	t.Parallel()
	for _, v := range []*core.Verdict{{KeyID: "k", Scopes: []string{"a"}}, denied} {
		if got := newEntry(v).verdict; !reflect.DeepEqual(&got, v) {
			t.Errorf("got %+v, want %+v", got, v)
		}
	}
}
