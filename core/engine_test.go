package core_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
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
	v, err := e.Lookup(t.Context(), core.NetworkID{}, cred)
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

func TestIssue_ARepeatedRequestIDAnswersTheSameKeyWithoutItsSecret(t *testing.T) {
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

func TestLookup_TellsActiveRevokedAndExpiredKeys(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, nil)
	key, secret := issue(t, e, nil)
	if _, err := e.Revoke(t.Context(), core.Issued, key.ID, core.RevokeRequest{}); err != nil {
		t.Fatal(err)
	}
	if v := lookup(t, e, secret); v.Code != core.CodeRevoked || v.KeyID != key.ID || v.Identity != (core.Identity{}) {
		t.Errorf("a revoked key reads %+v", v)
	}

	old := core.Key{ID: uuid.NewString(), Kind: core.Issued, Name: "n", ActorID: "a", Visibility: core.VisibilitySecret, Status: core.StatusActive,
		CreateTime: time.Now().Add(-2 * time.Hour), UpdateTime: time.Now(), ExpireTime: time.Now().Add(-time.Hour)}
	if _, _, err := store.Create(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if v := lookup(t, e, mintFor(t, old.ID, secretA)); v.Code != core.CodeExpired {
		t.Errorf("an expired key reads %+v", v)
	}
}

func mintFor(t testing.TB, keyID, secret string) string {
	t.Helper()
	keyring, err := credential.NewKeyring(secret)
	if err != nil {
		t.Fatal(err)
	}
	f, err := credential.NewFormat(uuid.Nil, keyring, credential.Prefixes{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Mint(uuid.MustParse(keyID), time.Now(), false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A caller must not learn which of these it was (contract: verification result).
func TestLookup_UnknownForgedAndForeignKeysReadTheSame(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key, secret := issue(t, e, nil)
	for name, cred := range map[string]string{
		"an unknown key":              mintFor(t, uuid.NewString(), secretA),
		"a key of another secret":     mintFor(t, key.ID, secretB),
		"a changed checksum":          secret[:len(secret)-4] + "1111",
		"a foreign prefix":            "acme" + strings.TrimPrefix(secret, "ory_ak"),
		"attack 18: the key id":       key.ID,
		"attack 18: its imported id":  credential.ImportedKeyID(uuid.Nil, secret),
		"a very long imported string": strings.Repeat("x", 5000),
	} {
		v := lookup(t, e, cred)
		if v.Code != core.CodeNotFound || v.ActorID != "" || v.Status != core.StatusUnknown {
			t.Errorf("%s reads %+v", name, v)
		}
	}
}

func TestIdentify_AForgedKeyCostsNoLookUp(t *testing.T) {
	t.Parallel()
	e := newEngine(t, nil, nil) // without a store: a look-up would panic
	for name, tc := range map[string]struct {
		cred string
		code core.Code
	}{
		"forged":      {mintFor(t, uuid.NewString(), secretB), core.CodeNotFound},
		"oversized":   {strings.Repeat("x", 17<<10), core.CodeInvalidFormat},
		"NUL":         {"a\x00", core.CodeInvalidFormat},
		"empty":       {"", core.CodeInvalidFormat},
		"a JWT":       {"eyJhbGciOiJub25lIn0.e30.x", core.CodeSignatureInvalid},
		"a macaroon":  {"mc_v1_AgEJ", core.CodeSignatureInvalid},
		"a long text": {strings.Repeat("x", 4097), core.CodeNotFound},
	} {
		if v := lookup(t, e, tc.cred); v.Code != tc.code {
			t.Errorf("%s: code %d, want %d", name, v.Code, tc.code)
		}
	}
	other := uuid.MustParse("550e8400-e29b-41d4-a716-446655440001")
	if _, v := e.Identify(other, mintFor(t, uuid.NewString(), secretA)); v == nil || v.Code != core.CodeNotFound {
		t.Errorf("a foreign network's credential reads %+v", v)
	}
}

func TestLookup_AnImportedStringThatIsAnIssuedKeysIDOpensNothing(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, nil)
	// Should an issued key ever be stored under the id that an imported string has, the kinds still differ.
	const raw = "sk_live_4242"
	k := core.Key{ID: credential.ImportedKeyID(uuid.Nil, raw), Kind: core.Issued, Name: "n", ActorID: "a",
		Visibility: core.VisibilitySecret, Status: core.StatusActive, CreateTime: time.Now(), UpdateTime: time.Now()}
	if _, _, err := store.Create(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if v := lookup(t, e, raw); v.Code != core.CodeNotFound {
		t.Errorf("it reads %+v", v)
	}
}

func TestAttack04_LookupManyAnswersInTheOrderOfTheCredentials(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	alice, aliceSecret := issue(t, e, nil)
	bob, bobSecret := issue(t, e, func(r *core.IssueRequest) { r.ActorID = "bob" })
	if _, err := e.Revoke(t.Context(), core.Issued, bob.ID, core.RevokeRequest{}); err != nil {
		t.Fatal(err)
	}
	creds := []string{bobSecret, "", aliceSecret, "nonsense", aliceSecret, strings.Repeat("x", 17<<10)}
	want := []core.Code{core.CodeRevoked, core.CodeInvalidFormat, core.CodeValid, core.CodeNotFound, core.CodeValid, core.CodeInvalidFormat}
	results, err := e.LookupMany(t.Context(), core.NetworkID{}, creds)
	if err != nil || len(results) != len(creds) {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for i, r := range results {
		if r.Err != nil || r.Verdict.Code != want[i] {
			t.Errorf("result %d: %+v, %v; want code %d", i, r.Verdict, r.Err, want[i])
		}
	}
	if results[2].Verdict.KeyID != alice.ID || results[0].Verdict.KeyID != bob.ID {
		t.Error("the results are not those of their credentials")
	}
}

func TestRevoke_FollowsTheContract(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key, _ := issue(t, e, nil)
	revoke := func(kind core.Kind, keyID string, r core.RevokeRequest) error {
		_, err := e.Revoke(t.Context(), kind, keyID, r)
		return err
	}
	wantReason(t, revoke(core.Issued, key.ID, core.RevokeRequest{Description: "why"}), core.BadRequest)
	wantReason(t, revoke(core.Issued, key.ID, core.RevokeRequest{Reason: 99}), core.BadRequest)
	wantReason(t, revoke(core.Imported, key.ID, core.RevokeRequest{}), core.KeyNotFound)
	wantReason(t, revoke(core.Issued, uuid.NewString(), core.RevokeRequest{}), core.KeyNotFound)
	withdrawn := core.RevokeRequest{Reason: core.ReasonPrivilegeWithdrawn, Description: "left the company"}
	if err := revoke(core.AnyKind, key.ID, withdrawn); err != nil {
		t.Error(err)
	}
	wantReason(t, revoke(core.Issued, key.ID, core.RevokeRequest{}), core.FailedPrecondition)
	got, err := e.Get(t.Context(), core.Issued, key.ID)
	if err != nil || got.Status != core.StatusRevoked || got.RevocationReason != core.ReasonPrivilegeWithdrawn || got.RevocationDescription != "left the company" {
		t.Errorf("the revoked key reads %+v, %v", got, err)
	}
}

func TestSelfRevoke_HoldingTheCredentialIsTheProof(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key, secret := issue(t, e, nil)
	self := func(cred string, reason core.RevocationReason) error { return e.SelfRevoke(t.Context(), cred, reason) }
	wantReason(t, self("", 0), core.CredentialRequired)
	wantReason(t, self("a\x00", 0), core.InvalidKeyFormat)
	wantReason(t, self("eyJhbGciOiJub25lIn0.e30.x", 0), core.DerivedTokenNotRevocable)
	wantReason(t, self("mc_v1_AgEJ", 0), core.DerivedTokenNotRevocable)
	wantReason(t, self(secret, core.ReasonPrivilegeWithdrawn), core.BadRequest)
	for _, unknown := range []string{key.ID, mintFor(t, key.ID, secretB), mintFor(t, uuid.NewString(), secretA), "nonsense"} {
		wantReason(t, self(unknown, 0), core.KeyNotFound)
	}
	if err := self(secret, core.ReasonKeyCompromise); err != nil {
		t.Fatal(err)
	}
	wantReason(t, self(secret, 0), core.KeyRevoked)
}

func TestSelfRevoke_OfTwoAtOnceOneWinsAndTheOtherReadsRevoked(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	_, secret := issue(t, e, nil)
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = e.SelfRevoke(t.Context(), secret, 0) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			wantReason(t, err, core.KeyRevoked)
		}
	}
	if won != 1 {
		t.Errorf("%d revocations succeeded, want 1", won)
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
