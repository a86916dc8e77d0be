package core_test

import (
	"slices"
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

func TestIntersectScopes_IsWhatBothGrant(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ held, to, want []string }{
		{nil, []string{"*"}, nil},
		{[]string{"a"}, nil, nil},
		{[]string{"a", "b"}, []string{"b", "a", "c"}, []string{"a", "b"}},
		{[]string{"*"}, []string{"a", "b:*"}, []string{"a", "b:*"}},
		{[]string{"a:b"}, []string{"a:*"}, []string{"a:b"}},
		{[]string{"a:*"}, []string{"a:b", "a:b:*", "a"}, []string{"a:b", "a:b:*"}},
		{[]string{"a:b:*", "a:*"}, []string{"a:*", "a:b:c"}, []string{"a:b:*", "a:*"}},
		{[]string{"a*"}, []string{"ab"}, nil},
		{[]string{"a", "a"}, []string{"a"}, []string{"a"}},
	} {
		if got := core.IntersectScopes(c.held, c.to); !slices.Equal(got, c.want) {
			t.Errorf("%v and %v both grant %v, want %v", c.held, c.to, got, c.want)
		}
	}
}
