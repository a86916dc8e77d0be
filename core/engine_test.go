package core_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/storage"
)

const (
	secretA = "an HMAC secret of thirty-two bytes"
	secretB = "another HMAC secret, also long enough"
)

func openStore(t testing.TB) core.Store {
	t.Helper()
	store, err := storage.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "talos.db"), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func newEngine(t testing.TB, store core.Store, change func(*core.EngineConfig)) *core.Engine {
	t.Helper()
	keyring, err := credential.NewKeyring(secretA)
	if err != nil {
		t.Fatal(err)
	}
	cfg := core.EngineConfig{Keyring: keyring, Prefixes: credential.Prefixes{Public: "ory_pk"}}
	if change != nil {
		change(&cfg)
	}
	e, err := core.NewEngine(cfg, store)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func issue(t testing.TB, e *core.Engine, change func(*core.IssueRequest)) (core.Key, string) {
	t.Helper()
	r := core.IssueRequest{Name: "test", ActorID: "alice"}
	if change != nil {
		change(&r)
	}
	key, secret, err := e.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return key, secret
}

func lookup(t testing.TB, e *core.Engine, cred string) *core.Verdict {
	t.Helper()
	v, err := lookUp(t, e, cred)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantReason(t testing.TB, err error, want core.Reason) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %s", want)
	} else if got := core.ReasonOf(err); got != want {
		t.Errorf("%s (%v), want %s", got, err, want)
	}
}

func TestIssue_AKeyVerifiesWithAllThatItWasGiven(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	ttl := time.Hour
	key, secret := issue(t, e, func(r *core.IssueRequest) {
		r.Scopes = []string{"orders:read", "orders:write"}
		r.Metadata = json.RawMessage(` { "plan" : "gold" } `)
		r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		r.TTL = &ttl
	})
	if got := key.ExpireTime.Sub(key.CreateTime); got != time.Hour {
		t.Errorf("the key lives %v, want %v", got, time.Hour)
	}
	v := lookup(t, e, secret)
	if v.Code != core.CodeValid || v.KeyID != key.ID || v.ActorID != "alice" || v.Type != core.IssuedKey ||
		v.Visibility != core.VisibilitySecret || v.Status != core.StatusActive || v.Issuer != core.DefaultIssuer {
		t.Errorf("verdict %+v", v)
	}
	if len(v.Scopes) != 2 || string(v.Metadata) != `{"plan":"gold"}` || len(v.AllowedCIDRs) != 1 || !v.ExpireTime.Equal(key.ExpireTime) {
		t.Errorf("verdict %+v", v)
	}
	want := core.Identity{Actor: "alice", Scopes: "orders:read orders:write", Metadata: "eyJwbGFuIjoiZ29sZCJ9", Network: uuid.Nil.String()}
	if v.Identity != want {
		t.Errorf("identity %+v, want %+v", v.Identity, want)
	}
}

func TestIssue_RefusesWhatIsNotWellFormedAndWritesNothing(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, func(c *core.EngineConfig) { c.Prefixes.Public = ""; c.MaxTTL = 2 * time.Hour })
	duration := func(d time.Duration) func(*core.IssueRequest) {
		return func(r *core.IssueRequest) { r.TTL = &d }
	}
	for name, change := range map[string]func(*core.IssueRequest){
		"no name":                  func(r *core.IssueRequest) { r.Name = "" },
		"no actor":                 func(r *core.IssueRequest) { r.ActorID = "" },
		"a long actor":             func(r *core.IssueRequest) { r.ActorID = strings.Repeat("a", core.MaxNameLength+1) },
		"NUL in a name":            func(r *core.IssueRequest) { r.Name = "a\x00b" },
		"invalid UTF-8":            func(r *core.IssueRequest) { r.ActorID = "a\xff" },
		"a scope with a space":     func(r *core.IssueRequest) { r.Scopes = []string{"a b"} },
		"an empty scope":           func(r *core.IssueRequest) { r.Scopes = []string{""} },
		"a scope with a line":      func(r *core.IssueRequest) { r.Scopes = []string{"a\nb"} },
		"many scopes":              func(r *core.IssueRequest) { r.Scopes = make([]string, 9000) },
		"a list as metadata":       func(r *core.IssueRequest) { r.Metadata = json.RawMessage(`[1]`) },
		"broken metadata":          func(r *core.IssueRequest) { r.Metadata = json.RawMessage(`{"a":`) },
		"metadata over 4 KiB":      func(r *core.IssueRequest) { r.Metadata = json.RawMessage(`{"a":"` + strings.Repeat("x", 4096) + `"}`) },
		"a life of no time":        duration(0),
		"half a second":            duration(500 * time.Millisecond),
		"a life over the maximum":  duration(2*time.Hour + time.Second),
		"a public key, no prefix":  func(r *core.IssueRequest) { r.Visibility = core.VisibilityPublic },
		"an unknown visibility":    func(r *core.IssueRequest) { r.Visibility = 9 },
		"NUL in a request id":      func(r *core.IssueRequest) { r.RequestID = "a\x00b" },
		"a request id of 37 runes": func(r *core.IssueRequest) { r.RequestID = strings.Repeat("ä", 37) },
	} {
		r := core.IssueRequest{Name: "n", ActorID: "a"}
		change(&r)
		if _, _, err := e.Issue(t.Context(), r); core.ReasonOf(err) != core.BadRequest {
			t.Errorf("%s: %v, want BAD_REQUEST", name, err)
		}
	}
	if n := store.Positions().Applied(); n != 0 {
		t.Errorf("%d changes were written", n)
	}
}

func TestIssue_ARepeatedRequestIDShowsNoSecret(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	withID := func(r *core.IssueRequest) { r.RequestID = "job-1" }
	first, secret := issue(t, e, withID)
	again, none := issue(t, e, withID)
	if secret == "" || none != "" || again.ID != first.ID {
		t.Errorf("first %s (secret %t), again %s (secret %t)", first.ID, secret != "", again.ID, none != "")
	}
}

func TestIssue_TheNetworksDefaultTTLHoldsWhereNoneIsAsked(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), func(c *core.EngineConfig) { c.DefaultTTL = time.Minute })
	key, _ := issue(t, e, nil)
	if got := key.ExpireTime.Sub(key.CreateTime); got != time.Minute {
		t.Errorf("the key lives %v, want a minute", got)
	}
}

func TestNewEngine_RefusesWhatWouldNotServe(t *testing.T) {
	t.Parallel()
	keyring, err := credential.NewKeyring(secretA)
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]core.EngineConfig{
		"no secret":               {},
		"a bad prefix":            {Keyring: keyring, Prefixes: credential.Prefixes{Secret: "a b"}},
		"max_ttl over ten years":  {Keyring: keyring, MaxTTL: core.MaxTTL + 1},
		"default_ttl over max":    {Keyring: keyring, MaxTTL: time.Hour, DefaultTTL: 2 * time.Hour},
		"default_ttl of a moment": {Keyring: keyring, DefaultTTL: time.Millisecond},
	} {
		if _, err := core.NewEngine(cfg, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestClaim_RefusesSecretsThatTheKeysWereNotMadeWith(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	with := func(current string, retired ...string) *core.Engine {
		return newEngine(t, store, func(c *core.EngineConfig) {
			keyring, err := credential.NewKeyring(current, retired...)
			if err != nil {
				t.Fatal(err)
			}
			c.Keyring = keyring
		})
	}
	for _, e := range []*core.Engine{with(secretA), with(secretA), with(secretB, secretA), with(secretB)} {
		if err := e.Claim(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantReason(t, with(secretA).Claim(t.Context()), core.FailedPrecondition)
}

func TestAttack11_AnIdentityIsOneLineOfPrintableASCII(t *testing.T) {
	t.Parallel()
	for actor, want := range map[string]string{
		"alice":            "alice",
		"Alice B. Toklas":  "Alice B. Toklas",
		"a\r\nX-Admin: 1":  "a%0D%0AX-Admin: 1",
		"a, b":             "a%2C b",
		"100%":             "100%25",
		" alice ":          "%20alice%20",
		"Zoë":              "Zo%C3%AB",
		"\x7f\t":           "%7F%09",
		" ":                "%20",
		"user@example.com": "user@example.com",
	} {
		k := core.Key{ID: "x", Kind: core.Issued, ActorID: actor, Status: core.StatusActive, Visibility: core.VisibilitySecret}
		if got := core.NewVerdict(&k, "", time.Now()).Identity.Actor; got != want {
			t.Errorf("%q: %q, want %q", actor, got, want)
		}
	}
}

func TestNewVerdict_FailsClosedOnWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]core.Key{
		"an unknown kind":   {Kind: 9, Status: core.StatusActive},
		"an unknown status": {Kind: core.Issued, Status: 9},
		"no status":         {Kind: core.Issued},
	} {
		if v := core.NewVerdict(&k, "", time.Now()); v.Code == core.CodeValid {
			t.Errorf("%s: valid", name)
		}
	}
}

func TestError_KeepsItsCauseForTheLogAndItsReasonForTheCaller(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk on fire")
	err := error(core.WrapError(core.Unavailable, "storage does not answer", cause))
	if !errors.Is(err, cause) || core.ReasonOf(err) != core.Unavailable || err.Error() != "storage does not answer: disk on fire" {
		t.Errorf("%v", err)
	}
	if core.ReasonOf(cause) != core.Internal {
		t.Error("an error without a reason is not internal")
	}
}

// lookUpMany looks credentials up as a verifier does that has cached nothing.
func lookUpMany(t testing.TB, e *core.Engine, creds []string) ([]core.LookupResult, error) {
	t.Helper()
	results := make([]core.LookupResult, len(creds))
	var queries []core.Query
	var places []int // of the queries in results
	for i, cred := range creds {
		q, final := e.Prepare(core.NetworkID{}, cred)
		if results[i].Verdict = final; final == nil {
			queries, places = append(queries, q), append(places, i)
		}
	}
	if len(queries) == 0 {
		return results, nil
	}
	found, err := e.Lookup(t.Context(), queries)
	for i := range found {
		results[places[i]] = found[i]
	}
	return results, err
}

func lookUp(t testing.TB, e *core.Engine, cred string) (*core.Verdict, error) {
	t.Helper()
	results, err := lookUpMany(t, e, []string{cred})
	return results[0].Verdict, errors.Join(err, results[0].Err)
}
