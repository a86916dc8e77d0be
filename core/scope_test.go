package core_test

import (
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core"
)

func TestValidScopeIsAScopeTokenOfRFC6749(t *testing.T) {
	t.Parallel()
	const allowed = "!#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"
	for c := range 256 {
		s := string([]byte{byte(c)})
		want := strings.Contains(allowed, s)
		for _, scope := range []string{s, "a" + s, s + "a", "a" + s + "a"} {
			if core.ValidScope(scope) != want {
				t.Errorf("%q: valid is %t", scope, !want)
			}
		}
	}
	for scope, want := range map[string]bool{
		"": false, "orders:read": true, "orders:*": true, "https://example.com/scope": true, "orders read": false,
		"größe": false, "a\n": false,
	} {
		if core.ValidScope(scope) != want {
			t.Errorf("%q: valid is %t", scope, !want)
		}
	}
}
