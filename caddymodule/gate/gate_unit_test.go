package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// fakeAuthority says the same about every credential.
type fakeAuthority struct {
	node.Node
	verdict *core.Verdict
	err     error
	cache   verify.Status
	asked   int
	counted []string
	limits  ratelimit.Limiter
	network core.NetworkID // of each request
	unknown error          // why a request is of no network
	in      core.NetworkID // in which network it was asked last
	ids     []core.NetworkID
	gone    bool // the pinned network is not served
}

func (a *fakeAuthority) Hold() node.Node { return a }

func (*fakeAuthority) Release() {}

func (a *fakeAuthority) Several() bool { return len(a.ids) > 0 }

func (a *fakeAuthority) MayServe(id core.NetworkID) bool { return slices.Contains(a.ids, id) }

func (a *fakeAuthority) Serves(core.NetworkID) error {
	if a.gone {
		return networks.ErrUnknown
	}
	return a.unknown
}

func (a *fakeAuthority) Network(*http.Request) (core.NetworkID, error) { return a.network, a.unknown }

func (a *fakeAuthority) Verify(_ *http.Request, network core.NetworkID, _ string) (verify.Result, error) {
	a.asked++
	a.in = network
	return verify.Result{Verdict: a.verdict, Now: time.Now(), Cache: a.cache}, a.err
}

func (*fakeAuthority) StaleWindow() time.Duration { return 0 }

func (a *fakeAuthority) Limiter() ratelimit.Limiter { return a.limits }

func (a *fakeAuthority) countDecision(_ core.NetworkID, d decision, r reason) {
	a.counted = append(a.counted, decisionNames[d]+" "+reasonNames[r])
}

func goodVerdict() *core.Verdict {
	return core.NewVerdict(&core.Key{
		ID: "an id", Kind: core.Issued, ActorID: "someone", Scopes: []string{"a"}, Visibility: core.VisibilitySecret,
		Status: core.StatusActive,
	}, "", time.Now())
}

func newTestGate(t testing.TB, g *Gate, a authority, logger *zap.Logger) *Gate {
	t.Helper()
	if logger == nil {
		logger = zap.NewNop()
	}
	if err := g.setUp(a, logger); err != nil {
		t.Fatal(err)
	}
	g.running = func() authority { return a }
	if c, ok := a.(interface {
		countDecision(core.NetworkID, decision, reason)
	}); ok {
		g.count = c.countDecision
	}
	return g
}

// requestWith makes a request with header lines "Name: value".
func requestWith(t testing.TB, lines ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		r.Header.Add(name, strings.Trim(value, " "))
	}
	return r
}

// inCaddy puts a request into a context like Caddy's.
func inCaddy(r *http.Request) *http.Request {
	ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, caddyhttp.ServerCtxKey, &caddyhttp.Server{})
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: "203.0.113.9"})
	return r.WithContext(ctx)
}

// through sends a request through a gate and returns what came behind it, which is nil for a denial.
func through(t testing.TB, g *Gate, r *http.Request) (*httptest.ResponseRecorder, *http.Request, error) {
	t.Helper()
	var behind *http.Request
	w := httptest.NewRecorder()
	err := g.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		behind = r
		return nil
	}))
	return w, behind, err
}

func TestGate_UnavailableIs503AndIsLoggedNowAndThen(t *testing.T) {
	t.Parallel()
	cause := core.WrapError(core.Unavailable, "the database does not answer", errors.New("disk on fire"))
	for name, a := range map[string]*fakeAuthority{
		"the source fails":            {err: cause},
		"a verdict that says so":      {verdict: &core.Verdict{Code: core.CodeInternal}},
		"a code of a later version":   {verdict: &core.Verdict{Code: 200}},
		"a status of a later version": {verdict: &core.Verdict{Status: 200, Visibility: core.VisibilitySecret}},
		"no verdict":                  {},
	} {
		for _, optional := range []bool{false, true} {
			logs, observed := observer.New(zapcore.InfoLevel)
			g := newTestGate(t, &Gate{Optional: optional}, a, zap.New(logs))
			a.counted = nil
			for range 5 {
				w, behind, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k")))
				if err != nil || behind != nil {
					t.Fatalf("%s: passed, %v", name, err)
				}
				if w.Code != http.StatusServiceUnavailable {
					t.Errorf("%s: status %d", name, w.Code)
				}
				if w.Header().Get("Retry-After") == "" {
					t.Errorf("%s: no Retry-After in %v", name, w.Header())
				}
				if strings.Contains(w.Body.String(), "fire") {
					t.Errorf("%s: the answer tells the cause: %s", name, w.Body)
				}
			}
			if !slices.Equal(slices.Compact(a.counted), []string{"unavailable unavailable"}) {
				t.Errorf("%s: counted %q", name, a.counted)
			}
			if observed.Len() != 1 {
				t.Errorf("%s: %d messages for five requests", name, observed.Len())
			}
		}
	}
}

func TestGate_AFailureInALoggedOutageIsADebugMessage(t *testing.T) {
	t.Parallel()
	logs, observed := observer.New(zapcore.DebugLevel)
	cause := core.WrapError(core.Unavailable, "the database does not answer", node.ErrOutage)
	g := newTestGate(t, &Gate{}, &fakeAuthority{err: cause}, zap.New(logs))
	w, _, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k")))
	if err != nil || w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d, %v", w.Code, err)
	}
	if all := observed.All(); len(all) != 1 || all[0].Level != zapcore.DebugLevel {
		t.Errorf("logged %v", all)
	}
}

// A body without a line's end leaves a shell's prompt on its line.
func TestGate_TheBodyOfEachDenialEndsItsLine(t *testing.T) {
	t.Parallel()
	for reason := reasonNoCredential; reason < reasons; reason++ {
		g := newTestGate(t, &Gate{}, &fakeAuthority{}, nil)
		w := httptest.NewRecorder()
		r := inCaddy(requestWith(t))
		if err := g.deny(w, r, &decided{reason: reason}); err != nil {
			t.Fatal(err)
		}
		body := w.Body.String()
		if !strings.HasSuffix(body, "}\n") || w.Header().Get("Content-Length") != strconv.Itoa(len(body)) {
			t.Errorf("%s: Content-Length %s of %q", reasonNames[reason], w.Header().Get("Content-Length"), body)
		}
	}
}

func TestGate_ARefusalIsADebugMessageAndNoError(t *testing.T) {
	t.Parallel()
	logs, observed := observer.New(zapcore.DebugLevel)
	unknown := core.Unknown(core.NetworkID{}, "hash of the credential", core.ImportedKey)
	g := newTestGate(t, &Gate{}, &fakeAuthority{verdict: unknown}, zap.New(logs))
	if _, _, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k"))); err != nil {
		t.Error(err)
	}
	all := observed.All()
	if len(all) != 1 || all[0].Level != zapcore.DebugLevel {
		t.Fatalf("logged %v", all)
	}
	if _, ok := all[0].ContextMap()["key_id"]; ok {
		t.Error("the id of a key that does not exist was logged")
	}
}

func TestGate_AClientThatWentAwayIsNobodysFailure(t *testing.T) {
	t.Parallel()
	a := &fakeAuthority{err: context.Canceled}
	g := newTestGate(t, &Gate{}, a, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, behind, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k").WithContext(ctx)))
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); !ok || he.StatusCode != statusClientGone {
		t.Errorf("error %v", err)
	}
	if behind != nil {
		t.Error("admitted")
	}
	if len(a.counted) > 0 {
		t.Errorf("counted %q", a.counted)
	}
}

func TestGate_AnAddressOfEarlyDataIsNotBelieved(t *testing.T) {
	t.Parallel()
	v := goodVerdict()
	v.AllowedCIDRs = cidrs(t, "203.0.113.0/24")
	g := newTestGate(t, &Gate{}, &fakeAuthority{verdict: v}, nil)
	for _, complete := range []bool{false, true} {
		r := inCaddy(requestWith(t, "Authorization: Bearer k"))
		r.TLS = &tls.ConnectionState{HandshakeComplete: complete}
		_, behind, err := through(t, g, r)
		he, _ := errors.AsType[caddyhttp.HandlerError](err)
		if passed := behind != nil; passed != complete || !complete && he.StatusCode != http.StatusTooEarly {
			t.Errorf("handshake complete %t: passed %t, %v", complete, passed, err)
		}
	}
}

func TestGate_TheServersErrorRoutesGetTheDenialWithItsHeaders(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, &Gate{}, &fakeAuthority{verdict: core.Unknown(core.NetworkID{}, "", core.ImportedKey)}, nil)
	r := inCaddy(requestWith(t, "Authorization: Bearer k"))
	server := &caddyhttp.Server{Errors: &caddyhttp.HTTPErrorConfig{Routes: caddyhttp.RouteList{{}}}}
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server))
	w, _, err := through(t, g, r)
	he, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok || he.StatusCode != http.StatusUnauthorized || w.Body.Len() > 0 {
		t.Errorf("%v, body %s", err, w.Body)
	}
	if got := w.Header().Get("Www-Authenticate"); got != `Bearer realm="api", error="invalid_token"` {
		t.Errorf("WWW-Authenticate %s", got)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %s", got)
	}
}

func TestGate_SaysWhereTheVerdictCameFrom(t *testing.T) {
	t.Parallel()
	for _, v := range []*core.Verdict{goodVerdict(), core.Unknown(core.NetworkID{}, "", core.ImportedKey)} {
		for status, want := range map[verify.Status]string{
			verify.Hit: "hit", verify.Negative: "negative", verify.Stale: "stale", verify.Coalesced: "coalesced",
			verify.Miss: "miss", verify.Local: "",
		} {
			g := newTestGate(t, &Gate{}, &fakeAuthority{verdict: v, cache: status}, nil)
			r := inCaddy(requestWith(t, "Authorization: Bearer k"))
			if _, _, err := through(t, g, r); err != nil {
				t.Fatal(err)
			}
			repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
			if !ok {
				t.Fatal("no replacer")
			}
			if got, known := repl.GetString("http.talos.cache"); !known || got != want {
				t.Errorf("%s: the placeholder is %q (known: %t), want %q", status, got, known, want)
			}
		}
	}
}

// A verdict is shared by all requests of a key, and a handler may write to a header's values.
func TestGate_RequestsShareNoHeaderValues(t *testing.T) {
	t.Parallel()
	v := goodVerdict()
	g := newTestGate(t, &Gate{}, &fakeAuthority{verdict: v}, nil)
	for range 2 {
		w, behind, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k")))
		if err != nil || behind == nil {
			t.Fatalf("refused: %d %v", w.Code, err)
		}
		if behind.Header.Get("X-Talos-Actor") != "someone" || w.Header().Get("Vary") != "Authorization" {
			t.Errorf("%v, %v", behind.Header, w.Header())
		}
		want := behind.Header.Clone()
		for name := range behind.Header {
			behind.Header.Add(name, "added")
		}
		w.Header().Add("Vary", "Accept")
		for name, values := range behind.Header {
			if !slices.Equal(values, append(want[name], "added")) {
				t.Errorf("what was added to another header changed %s to %q", name, values)
			}
			values[0] = "changed"
		}
		w.Header()["Vary"][0] = "changed"
	}
	if v.Identity.Actor != "someone" || v.KeyID != "an id" {
		t.Errorf("the verdict was changed: %+v", v)
	}
}

func TestGate_RefusesEmptyAndUnknownPlaceholders(t *testing.T) {
	for scope, admitted := range map[string]bool{"a": true, "b": false} { // the key has the scope a
		t.Setenv("TALOS_TEST_SCOPE", scope)
		g := &Gate{Scopes: []string{"{env.TALOS_TEST_SCOPE}"}}
		g = newTestGate(t, g, &fakeAuthority{verdict: goodVerdict()}, nil)
		_, behind, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k")))
		if err != nil || (behind != nil) != admitted {
			t.Errorf("scope %s: admitted %t, %v", scope, behind != nil, err)
		}
	}
	t.Setenv("TALOS_TEST_LIST", "a,b")
	t.Setenv("TALOS_TEST_WILDCARD", "a:*")
	for name, g := range map[string]*Gate{
		"an empty scope":         {Scopes: []string{"{env.TALOS_TEST_NOT_SET}"}},
		"an unknown one":         {AnyScope: []string{"{no.such.thing}"}},
		"an empty visibility":    {Visibility: "{env.TALOS_TEST_NOT_SET}"},
		"an empty header":        {From: []Source{{Header: "{env.TALOS_TEST_NOT_SET}"}}},
		"no place at all":        {From: []Source{{}}},
		"two places in one":      {From: []Source{{Header: "X-Api-Key", Query: "key"}}},
		"a scheme and no header": {From: []Source{{Query: "key", Scheme: "Bearer"}}},
		"an empty scope in JSON": {Scopes: []string{""}},
		"a list in one scope":    {Scopes: []string{"{env.TALOS_TEST_LIST}"}},
		"a wildcard":             {AnyScope: []string{"{env.TALOS_TEST_WILDCARD}"}},
		"a list in JSON":         {AnyScope: []string{"a,b"}},
		"a wildcard in JSON":     {Scopes: []string{"a", "b:*"}},
		"too many places":        {From: slices.Repeat([]Source{{Query: "a"}}, httpcred.MaxSources+1)},
	} {
		if err := g.setUp(&fakeAuthority{}, zap.NewNop()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
