package engine_test

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
	"github.com/talos-edge/talos-edge/core/engine"
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

func newEngine(t testing.TB, store core.Store, change func(*engine.Config)) *engine.Engine {
	t.Helper()
	keyring, err := credential.NewKeyring(secretA)
	if err != nil {
		t.Fatal(err)
	}
	cfg := engine.Config{Keyring: keyring, Prefixes: credential.Prefixes{Public: "ory_pk"}}
	if change != nil {
		change(&cfg)
	}
	e, err := engine.New(cfg, store)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func issue(t testing.TB, e *engine.Engine, change func(*engine.IssueRequest)) (core.Key, string) {
	t.Helper()
	r := engine.IssueRequest{Name: "test", ActorID: "alice"}
	if change != nil {
		change(&r)
	}
	key, secret, err := e.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return key, secret
}

func lookup(t testing.TB, e *engine.Engine, cred string) *core.Verdict {
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
	key, secret := issue(t, e, func(r *engine.IssueRequest) {
		r.Scopes = []string{"orders:read", "orders:write"}
		r.Metadata = json.RawMessage(` { "plan" : "gold" } `)
		r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		r.TTL = &ttl
	})
	if got := key.ExpireTime.Sub(key.CreateTime); got != time.Hour {
		t.Errorf("the key expires after %v, want %v", got, time.Hour)
	}
	v := lookup(t, e, secret)
	if v.Code != core.CodeValid || v.KeyID != key.ID || v.ActorID != "alice" || v.Type != core.IssuedKey ||
		v.Visibility != core.VisibilitySecret || v.Status != core.StatusActive || v.Issuer != engine.DefaultIssuer {
		t.Errorf("verdict %+v", v)
	}
	if len(v.Scopes) != 2 || string(v.Metadata) != `{"plan":"gold"}` ||
		len(v.AllowedCIDRs) != 1 || !v.ExpireTime.Equal(key.ExpireTime) {
		t.Errorf("verdict %+v", v)
	}
	want := core.Identity{
		Actor: "alice", Scopes: "orders:read orders:write", Metadata: "eyJwbGFuIjoiZ29sZCJ9",
		Network: uuid.Nil.String(),
	}
	if v.Identity != want {
		t.Errorf("identity %+v, want %+v", v.Identity, want)
	}
}

func TestIssue_RefusesWhatIsNotWellFormedAndWritesNothing(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, func(c *engine.Config) { c.Prefixes.Public = ""; c.MaxTTL = 2 * time.Hour })
	duration := func(d time.Duration) func(*engine.IssueRequest) {
		return func(r *engine.IssueRequest) { r.TTL = &d }
	}
	for name, change := range map[string]func(*engine.IssueRequest){
		"no name":              func(r *engine.IssueRequest) { r.Name = "" },
		"no actor":             func(r *engine.IssueRequest) { r.ActorID = "" },
		"a long actor":         func(r *engine.IssueRequest) { r.ActorID = strings.Repeat("a", core.MaxNameLength+1) },
		"NUL in a name":        func(r *engine.IssueRequest) { r.Name = "a\x00b" },
		"invalid UTF-8":        func(r *engine.IssueRequest) { r.ActorID = "a\xff" },
		"a scope with a space": func(r *engine.IssueRequest) { r.Scopes = []string{"a b"} },
		"an empty scope":       func(r *engine.IssueRequest) { r.Scopes = []string{""} },
		"a scope with a line":  func(r *engine.IssueRequest) { r.Scopes = []string{"a\nb"} },
		"many scopes":          func(r *engine.IssueRequest) { r.Scopes = make([]string, 9000) },
		"a list as metadata":   func(r *engine.IssueRequest) { r.Metadata = json.RawMessage(`[1]`) },
		"broken metadata":      func(r *engine.IssueRequest) { r.Metadata = json.RawMessage(`{"a":`) },
		"metadata over 4 KiB": func(r *engine.IssueRequest) {
			r.Metadata = json.RawMessage(`{"a":"` + strings.Repeat("x", 4096) + `"}`)
		},
		"a lifetime of zero":       duration(0),
		"half a second":            duration(500 * time.Millisecond),
		"a lifetime too long":      duration(2*time.Hour + time.Second),
		"a public key, no prefix":  func(r *engine.IssueRequest) { r.Visibility = core.VisibilityPublic },
		"an unknown visibility":    func(r *engine.IssueRequest) { r.Visibility = 9 },
		"NUL in a request id":      func(r *engine.IssueRequest) { r.RequestID = "a\x00b" },
		"a request id of 37 runes": func(r *engine.IssueRequest) { r.RequestID = strings.Repeat("ä", 37) },
	} {
		r := engine.IssueRequest{Name: "n", ActorID: "a"}
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
	withID := func(r *engine.IssueRequest) { r.RequestID = "job-1" }
	first, secret := issue(t, e, withID)
	again, none := issue(t, e, withID)
	if secret == "" || none != "" || again.ID != first.ID {
		t.Errorf("first %s (secret %t), again %s (secret %t)", first.ID, secret != "", again.ID, none != "")
	}
}

func TestIssue_TheNetworksDefaultTTLHoldsWhereNoneIsAsked(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), func(c *engine.Config) { c.DefaultTTL = time.Minute })
	key, _ := issue(t, e, nil)
	if got := key.ExpireTime.Sub(key.CreateTime); got != time.Minute {
		t.Errorf("the key expires after %v instead of a minute", got)
	}
}

func TestNewEngine_RefusesWhatWouldNotServe(t *testing.T) {
	t.Parallel()
	keyring, err := credential.NewKeyring(secretA)
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]engine.Config{
		"no secret":               {},
		"a bad prefix":            {Keyring: keyring, Prefixes: credential.Prefixes{Secret: "a b"}},
		"max_ttl over ten years":  {Keyring: keyring, MaxTTL: core.MaxTTL + 1},
		"default_ttl over max":    {Keyring: keyring, MaxTTL: time.Hour, DefaultTTL: 2 * time.Hour},
		"default_ttl of a moment": {Keyring: keyring, DefaultTTL: time.Millisecond},
	} {
		if _, err := engine.New(cfg, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestClaim_RefusesSecretsThatTheKeysWereNotMadeWith(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	with := func(current string, retired ...string) *engine.Engine {
		return newEngine(t, store, func(c *engine.Config) {
			keyring, err := credential.NewKeyring(current, retired...)
			if err != nil {
				t.Fatal(err)
			}
			c.Keyring = keyring
		})
	}
	for _, e := range []*engine.Engine{with(secretA), with(secretA), with(secretB, secretA), with(secretB)} {
		if err := e.Claim(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantReason(t, with(secretA).Claim(t.Context()), core.FailedPrecondition)
}

// lookUpMany looks credentials up as a verifier does that has cached nothing.
func lookUpMany(t testing.TB, e *engine.Engine, creds []string) ([]core.LookupResult, error) {
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

func lookUp(t testing.TB, e *engine.Engine, cred string) (*core.Verdict, error) {
	t.Helper()
	results, err := lookUpMany(t, e, []string{cred})
	return results[0].Verdict, errors.Join(err, results[0].Err)
}
