package core_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core"
)

func TestParseCIDRsReadsRangesAndAddresses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.0/24":             "192.0.2.0/24",
		"192.0.2.7/24":             "192.0.2.0/24",
		"192.0.2.7":                "192.0.2.7/32",
		"0.0.0.0/0":                "0.0.0.0/0",
		"2001:db8::/32":            "2001:db8::/32",
		"2001:DB8:0::1/32":         "2001:db8::/32",
		"2001:db8::1":              "2001:db8::1/128",
		"::/0":                     "::/0",
		"::ffff:192.0.2.7":         "192.0.2.7/32",
		"::ffff:192.0.2.7/120":     "192.0.2.0/24",
		"::ffff:0:0/96":            "0.0.0.0/0",
		"::192.0.2.7":              "::c000:207/128",
		"fe80::1/64":               "fe80::/64",
		"64:ff9b::192.0.2.0/120":   "64:ff9b::c000:200/120",
		"255.255.255.255/32":       "255.255.255.255/32",
		"2001:db8:ffff:ffff::/128": "2001:db8:ffff:ffff::/128",
	} {
		got, err := core.ParseCIDRs([]string{in})
		if err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%s: got %v, %v, want %s", in, got, err, want)
		}
	}
	got, err := core.ParseCIDRs([]string{"192.0.2.0/24", "::1", "192.0.2.0/24"})
	want := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("192.0.2.0/24"),
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, none := range [][]string{nil, {}} {
		if got, err := core.ParseCIDRs(none); got != nil || err != nil {
			t.Errorf("got %v, %v for an empty list", got, err)
		}
	}
}

func TestParseCIDRsSaysWhichItemIsWrongAndWhy(t *testing.T) {
	t.Parallel()
	for in, problem := range map[string]string{
		"":                      "is not an IP address",
		"localhost":             "is not an IP address",
		" 192.0.2.1":            "is not an IP address",
		"192.0.2.1\n":           "is not an IP address",
		"192.0.2":               "is not an IP address",
		"192.0.2.01":            "is not an IP address",
		"192.0.2.0/":            "is not a range",
		"192.0.2.0/33":          "is not a range",
		"192.0.2.0/-1":          "is not a range",
		"192.0.2.0/024":         "is not a range",
		"192.0.2.0/24/24":       "is not a range",
		"192.0.2.0/255.255.0.0": "is not a range",
		"2001:db8::/129":        "is not a range",
		"fe80::1%eth0":          "has a zone",
		"fe80::%eth0/64":        "has a zone",
		"::ffff:192.0.2.0/95":   "length under 96",
		"::ffff:192.0.2.0/24":   "length under 96",
	} {
		got, err := core.ParseCIDRs([]string{"10.0.0.0/8", in})
		if got != nil || err == nil || core.ReasonOf(err) != core.BadRequest {
			t.Errorf("%q: got %v, %v", in, got, err)
		} else if !strings.Contains(err.Error(), problem) || !strings.Contains(err.Error(), "address range 2") {
			t.Errorf("%q: the error does not tell: %v", in, err)
		}
	}
	_, err := core.ParseCIDRs([]string{strings.Repeat("x", 1<<20)})
	if err == nil || len(err.Error()) > 200 {
		t.Error("a long item makes a long error")
	}
}

func FuzzParseCIDRs(f *testing.F) {
	for _, s := range []string{
		"192.0.2.7/24", "192.0.2.7", "::ffff:192.0.2.7/120", "2001:db8::1/32", "::/0", "fe80::1%e", "/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := core.ParseCIDRs([]string{s})
		if (err == nil) != (len(got) == 1) {
			t.Fatalf("%q: %v with error %v", s, got, err)
		}
		if err != nil {
			return
		}
		p := got[0]
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" || !p.Contains(p.Addr()) {
			t.Fatalf("%q became %v", s, p)
		}
		again, err := core.ParseCIDRs([]string{p.String()})
		if err != nil || again[0] != p {
			t.Fatalf("%q became %v, and that %v, %v", s, p, again, err)
		}
	})
}

func TestIntersectCIDRs_IsWhatIsInBothLists(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b, want []string }{
		{nil, nil, nil},
		{[]string{"10.0.0.0/8"}, nil, []string{"10.0.0.0/8"}},
		{nil, []string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}},
		{[]string{"10.0.0.0/8"}, []string{"10.1.0.0/16"}, []string{"10.1.0.0/16"}},
		{[]string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}},
		{
			[]string{"10.0.0.0/8", "::/0"}, []string{"0.0.0.0/0", "2001:db8::/32"},
			[]string{"10.0.0.0/8", "2001:db8::/32"},
		},
		{[]string{"10.0.0.0/8"}, []string{"::/0"}, []string{core.Nowhere.String()}},
		{[]string{"10.0.0.0/8"}, []string{core.Nowhere.String()}, []string{core.Nowhere.String()}},
	} {
		a, b, want := mustCIDRs(t, c.a), mustCIDRs(t, c.b), mustCIDRs(t, c.want)
		for _, got := range [][]netip.Prefix{core.IntersectCIDRs(a, b), core.IntersectCIDRs(b, a)} {
			if !slices.Equal(got, want) {
				t.Errorf("%v and %v have %v in common, want %v", c.a, c.b, got, want)
			}
		}
	}
}

func mustCIDRs(t testing.TB, list []string) []netip.Prefix {
	t.Helper()
	p, err := core.ParseCIDRs(list)
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
		if got := core.AllowsAddress(list, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	if core.AllowsAddress(list, netip.Addr{}) ||
		core.AllowsAddress([]netip.Prefix{{}}, netip.MustParseAddr("10.0.0.1")) {
		t.Error("no address, or no range, was allowed")
	}
	if !core.AllowsAddress(nil, netip.Addr{}) {
		t.Error("without a list an address is asked for")
	}
	if core.AllowsAddress(mustCIDRs(t, []string{"0.0.0.0/0"}), core.Nowhere.Addr()) {
		t.Error("somebody is nowhere")
	}
}
