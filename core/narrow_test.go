package core

import (
	"net/netip"
	"slices"
	"strconv"
	"testing"
)

func TestNarrowCIDRs_IsWhatIsInBothLists(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b, want []string }{
		{nil, nil, nil},
		{[]string{"10.0.0.0/8"}, nil, []string{"10.0.0.0/8"}},
		{nil, []string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}},
		{[]string{"10.0.0.0/8"}, []string{"10.1.0.0/16"}, []string{"10.1.0.0/16"}},
		{[]string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}},
		{[]string{"10.0.0.0/8", "::/0"}, []string{"0.0.0.0/0", "2001:db8::/32"}, []string{"10.0.0.0/8", "2001:db8::/32"}},
		{[]string{"10.0.0.0/8"}, []string{"::/0"}, []string{Nowhere.String()}},
		{[]string{"10.0.0.0/8"}, []string{Nowhere.String()}, []string{Nowhere.String()}},
	} {
		a, b, want := mustCIDRs(t, c.a), mustCIDRs(t, c.b), mustCIDRs(t, c.want)
		for _, got := range [][]netip.Prefix{narrowCIDRs(a, b), narrowCIDRs(b, a)} {
			if !slices.Equal(got, want) {
				t.Errorf("%v and %v have %v in common, want %v", c.a, c.b, got, want)
			}
		}
	}
}

func mustCIDRs(t testing.TB, list []string) []netip.Prefix {
	t.Helper()
	p, err := ParseCIDRs(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAllowsAddress_FailsClosed(t *testing.T) {
	t.Parallel()
	list := mustCIDRs(t, []string{"10.0.0.0/8", "2001:db8::/32"})
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "2001:db8::1%eth0": true, "11.0.0.0": false, "2001:db9::": false,
	} {
		if got := AllowsAddress(list, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	if AllowsAddress(list, netip.Addr{}) || AllowsAddress([]netip.Prefix{{}}, netip.MustParseAddr("10.0.0.1")) {
		t.Error("no address, or no range, was allowed")
	}
	if !AllowsAddress(nil, netip.Addr{}) {
		t.Error("without a list an address is asked for")
	}
	if AllowsAddress(mustCIDRs(t, []string{"0.0.0.0/0"}), Nowhere.Addr()) {
		t.Error("somebody is nowhere")
	}
}

func TestNarrowScopes_IsWhatBothGrant(t *testing.T) {
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
		if got := narrowScopes(c.held, c.to); !slices.Equal(got, c.want) {
			t.Errorf("%v narrowed to %v is %v, want %v", c.held, c.to, got, c.want)
		}
	}
}

func TestTokenMemo_IsBounded(t *testing.T) {
	t.Parallel()
	m := newTokenMemo()
	tok := &token{keyID: "k", scopes: slices.Repeat([]string{"orders:read"}, 100)}
	for i := range 20_000 {
		m.put(m.digest(strconv.Itoa(i)), tok)
	}
	n, bytes := 0, 0
	for i := range m.shards {
		n += len(m.shards[i].known)
		bytes += m.shards[i].bytes
	}
	if bytes > memoShards*memoShardBytes || bytes != n*tok.size() || n < 1000 {
		t.Errorf("%d tokens in %d bytes", n, bytes)
	}
	last := m.digest("19999")
	if m.get(last) != tok {
		t.Error("a token that was just put is not there")
	}
	if m.drop(last); m.get(last) != nil {
		t.Error("a dropped token is there")
	}
}
