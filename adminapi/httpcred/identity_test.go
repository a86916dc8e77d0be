package httpcred_test

import (
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
	"github.com/talos-edge/talos-edge/core"
)

func TestIdentity_SetsTheHeadersOfItsFields(t *testing.T) {
	t.Parallel()
	v := core.NewVerdict(&core.Key{
		ID: "an id", Kind: core.Issued, ActorID: "someone", Scopes: []string{"a", "b"}, Status: core.StatusActive,
	}, "", time.Now())
	for name, tc := range map[string]struct {
		prefix string
		fields []string
		want   http.Header
	}{
		"the default fields, without empty ones": {httpcred.DefaultPrefix, nil, http.Header{
			"X-Talos-Key-Id": {"an id"}, "X-Talos-Actor": {"someone"}, "X-Talos-Scopes": {"a b"},
		}},
		"some fields under a prefix in another case": {"x-own-", []string{"network", "actor"}, http.Header{
			"X-Own-Network": {core.NetworkID{}.String()}, "X-Own-Actor": {"someone"},
		}},
	} {
		identity, err := httpcred.NewIdentity(tc.prefix, tc.fields...)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		identity.Set(h, v)
		if !maps.EqualFunc(h, tc.want, slices.Equal) {
			t.Errorf("%s: %v", name, h)
		}
	}
}

func TestIdentity_RefusesWhatIsNoPrefixOrField(t *testing.T) {
	t.Parallel()
	for _, tc := range [][]string{
		{"X-Talos"}, {""}, {"-"}, {"X Talos-"}, {"X-Talos-", "name"}, {"X-Talos-", "actor", "actor"},
	} {
		if _, err := httpcred.NewIdentity(tc[0], tc[1:]...); err == nil {
			t.Errorf("%q: no error", tc)
		}
	}
}
