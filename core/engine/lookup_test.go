package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

func TestLookup_TellsActiveRevokedAndExpiredKeys(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, nil)
	key, secret := issue(t, e, nil)
	if _, err := e.Revoke(t.Context(), core.Issued, key.ID, engine.RevokeRequest{}); err != nil {
		t.Fatal(err)
	}
	if v := lookup(t, e, secret); v.Code != core.CodeRevoked || v.KeyID != key.ID || v.Identity != (core.Identity{}) {
		t.Errorf("a revoked key reads %+v", v)
	}

	old := core.Key{ID: uuid.NewString(), Kind: core.Issued, Name: "n", ActorID: "a",
		Visibility: core.VisibilitySecret, Status: core.StatusActive,
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

func TestPrepare_AForgedKeyCostsNoLookUp(t *testing.T) {
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
	if _, v := e.Prepare(other, mintFor(t, uuid.NewString(), secretA)); v == nil || v.Code != core.CodeNotFound {
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

func TestAttack04_LookupAnswersInTheOrderOfTheQueries(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	alice, aliceSecret := issue(t, e, nil)
	bob, bobSecret := issue(t, e, func(r *engine.IssueRequest) { r.ActorID = "bob" })
	if _, err := e.Revoke(t.Context(), core.Issued, bob.ID, engine.RevokeRequest{}); err != nil {
		t.Fatal(err)
	}
	creds := []string{bobSecret, "", aliceSecret, "nonsense", aliceSecret, strings.Repeat("x", 17<<10)}
	want := []core.Code{
		core.CodeRevoked, core.CodeInvalidFormat, core.CodeValid,
		core.CodeNotFound, core.CodeValid, core.CodeInvalidFormat,
	}
	results, err := lookUpMany(t, e, creds)
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

// oddRow is a store in which the row of one key cannot be read.
type oddRow struct {
	core.Store
	keyID string
}

var errOddRow = errors.New("a column holds no JSON")

func (s oddRow) Get(ctx context.Context, n core.NetworkID, keyID string) (core.Key, error) {
	if keyID == s.keyID {
		return core.Key{}, errOddRow
	}
	return s.Store.Get(ctx, n, keyID)
}

func (s oddRow) GetMany(ctx context.Context, n core.NetworkID, keyIDs []string) (map[string]core.Key, error) {
	if slices.Contains(keyIDs, s.keyID) {
		return nil, errOddRow
	}
	return s.Store.GetMany(ctx, n, keyIDs)
}

func TestAttack08_ARowThatCannotBeReadFailsAlone(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, nil)
	odd, oddSecret := issue(t, e, nil)
	_, secret := issue(t, e, nil)
	e = newEngine(t, oddRow{store, odd.ID}, nil)
	results, err := lookUpMany(t, e, []string{oddSecret, secret})
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(results[0].Err, errOddRow) {
		t.Errorf("the odd one: got %+v", results[0])
	}
	if results[1].Err != nil || results[1].Verdict.Code != core.CodeValid {
		t.Errorf("the other: got %+v", results[1])
	}
}
