package policy_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/policy"
)

var (
	now    = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	client = netip.MustParseAddr("192.0.2.7")
)

// verdict is a valid one of a secret key, changed.
func verdict(change func(v *core.Verdict)) *core.Verdict {
	v := &core.Verdict{
		KeyID: "k", Type: core.IssuedKey, Status: core.StatusActive, Visibility: core.VisibilitySecret,
		Scopes: []string{"orders:read", "invoices:*"},
	}
	if change != nil {
		change(v)
	}
	return v
}

func TestJudgeTheVerdictAndTheTime(t *testing.T) {
	t.Parallel()
	expiring := func(at time.Time) *core.Verdict { return verdict(func(v *core.Verdict) { v.ExpireTime = at }) }
	status := func(s core.Status) *core.Verdict { return verdict(func(v *core.Verdict) { v.Status = s }) }
	code := func(c core.Code) *core.Verdict { return verdict(func(v *core.Verdict) { v.Code = c }) }
	for name, c := range map[string]struct {
		verdict *core.Verdict
		want    core.Code
	}{
		"valid":                     {verdict(nil), core.CodeValid},
		"expires later":             {expiring(now.Add(1)), core.CodeValid},
		"expires now":               {expiring(now), core.CodeExpired},
		"expired since":             {expiring(now.Add(-1)), core.CodeExpired},
		"not found":                 {code(core.CodeNotFound), core.CodeNotFound},
		"revoked":                   {code(core.CodeRevoked), core.CodeRevoked},
		"format":                    {code(core.CodeInvalidFormat), core.CodeInvalidFormat},
		"signature":                 {code(core.CodeSignatureInvalid), core.CodeSignatureInvalid},
		"an upstream's own refusal": {code(core.CodeIPNotAllowed), core.CodeIPNotAllowed},
		"an upstream's limit":       {code(core.CodeRateLimited), core.CodeRateLimited},
		"a code of the future":      {code(core.CodeVisibilityDenied + 1), core.CodeInternal},
		"status revoked":            {status(core.StatusRevoked), core.CodeRevoked},
		"status expired":            {status(core.StatusExpired), core.CodeExpired},
		"status unknown":            {status(core.StatusUnknown), core.CodeInternal},
		"a status of the future":    {status(99), core.CodeInternal},
		"no verdict":                {nil, core.CodeInternal},
		"nothing in it":             {&core.Verdict{}, core.CodeInternal},
	} {
		for _, rules := range []*policy.Rules{nil, {}} {
			if got := policy.Judge(c.verdict, policy.Request{Now: now, Client: client}, rules); got != c.want {
				t.Errorf("%s: got %d, want %d", name, got, c.want)
			}
		}
	}
	if got := policy.Judge(expiring(now), policy.Request{Client: client}, nil); got != core.CodeExpired {
		t.Errorf("a request without a time: got %d", got)
	}
}

func TestAttack01_EveryUseOfAVerdictIsJudged(t *testing.T) {
	t.Parallel()
	v := verdict(func(v *core.Verdict) {
		v.ExpireTime = now.Add(time.Second)
		v.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	good := policy.Request{Now: now, Client: client}
	late, elsewhere := good, good
	late.Now = now.Add(time.Second)
	elsewhere.Client = netip.MustParseAddr("198.51.100.1")
	read, write := &policy.Rules{Scopes: []string{"orders:read"}}, &policy.Rules{Scopes: []string{"orders:write"}}
	for range 3 {
		for _, c := range []struct {
			request policy.Request
			rules   *policy.Rules
			want    core.Code
		}{
			{good, read, core.CodeValid}, {late, read, core.CodeExpired}, {elsewhere, read, core.CodeIPNotAllowed},
			{good, write, core.CodeScopeMissing}, {good, nil, core.CodeValid},
		} {
			if got := policy.Judge(v, c.request, c.rules); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		}
	}
}

func TestJudgeTheClientsAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		list   string
		client string // empty: could not be read
		ok     bool
	}{
		{"", "192.0.2.7", true},
		{"", "", true},
		{"192.0.2.0/24", "192.0.2.7", true},
		{"192.0.2.0/24", "192.0.3.7", false},
		{"192.0.2.0/24", "", false},
		{"192.0.2.0/24", "::ffff:192.0.2.7", true},
		{"192.0.2.0/24", "::ffff:192.0.3.7", false},
		{"::ffff:192.0.2.0/120", "192.0.2.7", true},
		{"192.0.2.0/24", "::192.0.2.7", false},
		{"fe80::/64", "fe80::1%eth0", true},
		{"fe80::/64", "fe80::1", true},
		{"fe80::/64", "fe81::1%eth0", false},
		{"10.0.0.0/8 2001:db8::/32", "2001:db8::1", true},
		{"10.0.0.0/8 2001:db8::/32", "10.9.8.7", true},
		{"10.0.0.0/8 2001:db8::/32", "11.0.0.1", false},
		{"::/0", "192.0.2.7", false},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.7", "192.0.2.8", false},
	} {
		list, err := core.ParseCIDRs(strings.Fields(c.list))
		if err != nil {
			t.Fatal(err)
		}
		var a netip.Addr
		if c.client != "" {
			a = netip.MustParseAddr(c.client)
		}
		want := core.CodeIPNotAllowed
		if c.ok {
			want = core.CodeValid
		}
		v := verdict(func(v *core.Verdict) { v.AllowedCIDRs = list })
		if got := policy.Judge(v, policy.Request{Now: now, Client: a}, nil); got != want {
			t.Errorf("%q from %q: got %d, want %d", c.list, c.client, got, want)
		}
	}
	unread := verdict(func(v *core.Verdict) { v.AllowedCIDRs = make([]netip.Prefix, 1) })
	if got := policy.Judge(unread, policy.Request{Now: now, Client: client}, nil); got != core.CodeIPNotAllowed {
		t.Errorf("a range that is none: got %d", got)
	}
}

func TestJudgeScopes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		held, all, any string
		ok             bool
	}{
		{"", "", "", true},
		{"", "a", "", false},
		{"", "", "a", false},
		{"a", "a", "", true},
		{"a b", "a b", "", true},
		{"a", "a b", "", false},
		{"a", "", "b a", true},
		{"c", "", "b a", false},
		{"a b", "a", "b c", true},
		{"a", "a", "b c", false},
		{"b", "a", "b c", false},
		{"a:*", "a:x a:y:z", "", true},
		{"a:*", "a:x b", "", false},
		{"*", "a:x", "b", true},
	} {
		v := verdict(func(v *core.Verdict) { v.Scopes = strings.Fields(c.held) })
		rules := &policy.Rules{Scopes: strings.Fields(c.all), AnyScope: strings.Fields(c.any)}
		want := core.CodeScopeMissing
		if c.ok {
			want = core.CodeValid
		}
		if got := policy.Judge(v, policy.Request{Now: now}, rules); got != want {
			t.Errorf("%+v: got %d, want %d", c, got, want)
		}
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		held, asked string
		want        bool
	}{
		{"orders:read", "orders:read", true},
		{"orders:read", "orders:write", false},
		{"orders:read", "orders:read:all", false},
		{"orders:read", "Orders:read", false},
		{"orders:*", "orders:read", true},
		{"orders:*", "orders:read:all", true},
		{"orders:*", "orders", false},
		{"orders:*", "ordersx:read", false},
		{"orders*", "orders:read", false}, // no wildcard without the colon
		{"orders*", "orders*", true},
		{"orders:**", "orders:*x", false},
		{"o:*:read", "o:a:read", false}, // nor in the middle
		{"*", "anything", true},
		{"*", "*", true},
		{"**", "a", false},
		{"orders:read", "orders:*", false}, // what a route asks for is literal
		{"orders:read", "*", false},
		{"orders:*", "*", false},
		{"*", "", false},
		{"", "", false},
		{"", "a", false},
		{":*", ":a", true},
		{":*", "a", false},
	} {
		if got := core.Covers(c.held, c.asked); got != c.want {
			t.Errorf("%q covers %q: got %t", c.held, c.asked, got)
		}
	}
}

func TestJudgeVisibility(t *testing.T) {
	t.Parallel()
	for held, asked := range map[core.Visibility]map[policy.Visibility]bool{
		core.VisibilitySecret:  {policy.Secret: true, policy.Public: false, policy.Any: true, 99: false},
		core.VisibilityPublic:  {policy.Secret: false, policy.Public: true, policy.Any: true, 99: false},
		core.VisibilityUnknown: {policy.Secret: false, policy.Public: false, policy.Any: false, 99: false},
		99:                     {policy.Secret: false, policy.Public: false, policy.Any: false, 99: false},
	} {
		for visibility, ok := range asked {
			want := core.CodeVisibilityDenied
			if ok {
				want = core.CodeValid
			}
			v := verdict(func(v *core.Verdict) { v.Visibility = held })
			if got := policy.Judge(v, policy.Request{Now: now}, &policy.Rules{Visibility: visibility}); got != want {
				t.Errorf("held %d, asked %d: got %d, want %d", held, visibility, got, want)
			}
			if got := policy.Judge(v, policy.Request{Now: now}, nil); got != core.CodeValid {
				t.Errorf("held %d, no rules: got %d", held, got)
			}
		}
	}
}

func TestJudgeAllocatesNothing(t *testing.T) {
	v, rules := busy()
	request := policy.Request{Now: now, Client: netip.MustParseAddr("::ffff:10.1.2.3")}
	if n := testing.AllocsPerRun(100, func() {
		if policy.Judge(v, request, rules) != core.CodeValid {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// busy is a verdict and rules that use everything.
func busy() (*core.Verdict, *policy.Rules) {
	v := verdict(func(v *core.Verdict) {
		v.ExpireTime = now.Add(time.Hour)
		v.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	return v, &policy.Rules{
		Scopes: []string{"orders:read", "invoices:write"}, AnyScope: []string{"admin", "invoices:read"},
		Visibility: policy.Any,
	}
}

func BenchmarkJudge(b *testing.B) {
	v, rules := busy()
	request := policy.Request{Now: now, Client: netip.MustParseAddr("10.1.2.3")}
	b.ReportAllocs()
	for b.Loop() {
		if policy.Judge(v, request, rules) != core.CodeValid {
			b.Fatal("refused")
		}
	}
}

func FuzzCovers(f *testing.F) {
	for _, s := range [][2]string{{"orders:*", "orders:read"}, {"*", "a"}, {"a", "a"}, {"a:**", "a:*"}, {":*", ":"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, held, asked string) {
		got := core.Covers(held, asked)
		var want bool
		switch {
		case asked == "":
		case held == "*", held == asked:
			want = true
		case len(held) >= 2 && held[len(held)-2:] == ":*":
			want = len(asked) >= len(held)-1 && asked[:len(held)-1] == held[:len(held)-1]
		}
		if got != want {
			t.Errorf("%q covers %q: got %t", held, asked, got)
		}
	})
}
