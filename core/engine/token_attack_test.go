package engine_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

// A token that names no position, from a build that did not write it, is not good for a key that was imported again for
// somebody else, although the clock that issued it was ahead.
func TestAttack18_ATokenWithoutAPositionIsNoneOfAnotherActorsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, openStore(t), withSigning)
		importAs := func(actor string) core.Key {
			t.Helper()
			key, err := e.Import(t.Context(), engine.ImportRequest{
				RawKey: "raw", IssueRequest: engine.IssueRequest{Name: "n", ActorID: actor},
			})
			if err != nil {
				t.Fatal(err)
			}
			return key
		}
		key := importAs("alice")
		c := claimsOf(&key)
		c.TokenID, c.IssueTime = uuid.NewString(), key.CreateTime.Add(time.Minute)
		token := signJWT(t, c)
		if v := lookup(t, e, token); v.Code != core.CodeValid {
			t.Fatalf("before the deletion: %d", v.Code)
		}
		if err := e.Delete(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		importAs("bob")
		if v := lookup(t, e, token); v.Code != core.CodeNotFound {
			t.Errorf("got %d for %q", v.Code, v.ActorID)
		}
	})
}

func TestAttack18_ATokenEndsWithTheKeyThatIsDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t)
		e := newEngine(t, store, withSigning)
		const raw = "an-old-key"
		importAs := func(actor string) *core.Key {
			key, err := e.Import(t.Context(), engine.ImportRequest{
				RawKey: raw, IssueRequest: engine.IssueRequest{Name: "n", ActorID: actor},
			})
			if err != nil {
				t.Fatal(err)
			}
			return &key
		}
		again := func(actor string) (key *core.Key, tokens []string) {
			key = importAs("alice")
			for _, a := range algorithms {
				tokens = append(tokens, derive(t, e, raw, a, nil).Token)
			}
			if err := e.Delete(t.Context(), key.ID); err != nil {
				t.Fatal(err)
			}
			return importAs(actor), tokens
		}
		want := func(code core.Code, tokens []string) {
			t.Helper()
			for _, token := range tokens {
				if v := lookup(t, e, token); v.Code != code {
					t.Errorf("got %d for %q, want %d", v.Code, v.ActorID, code)
				}
			}
		}
		key, tokens := again("mallory") // at the same moment, for somebody else
		want(core.CodeNotFound, tokens)
		if err := e.Delete(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(engine.DefaultClockSkew + 2*time.Second)
		importAs("alice") // for the same actor, later than clocks can differ
		want(core.CodeNotFound, tokens)
		for _, a := range algorithms {
			want(core.CodeValid, []string{derive(t, e, raw, a, nil).Token})
		}
	})
}

// TestAttack18_ATokenFromBeforeADeletionStaysDead imports the same key again for the same
// actor within the leeway for clocks, and lets the clocks of the nodes that issue tokens differ by as much.
func TestAttack18_ATokenFromBeforeADeletionStaysDead(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]time.Duration{
		"at the same moment": 0, "within the same second": 300 * time.Millisecond,
		"within the leeway": time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEngine(t, openStore(t), withSigning)
			const raw = "an-old-key"
			importKey := func() core.Key {
				key, err := e.Import(t.Context(), engine.ImportRequest{
					RawKey: raw, IssueRequest: engine.IssueRequest{Name: "n", ActorID: "alice"},
				})
				if err != nil {
					t.Fatal(err)
				}
				return key
			}
			// tokens derives one of each kind, and those that nodes would whose clocks are ahead or behind.
			tokens := func() (list []string) {
				for _, a := range algorithms {
					list = append(list, derive(t, e, raw, a, nil).Token)
				}
				for _, off := range []time.Duration{4 * time.Minute, -4 * time.Minute} {
					var c credential.Claims
					if err := json.Unmarshal(derive(t, e, raw, engine.AlgorithmJWT, nil).Claims, &c); err != nil {
						t.Fatal(err)
					}
					c.IssueTime, c.NotBefore = c.IssueTime.Add(off), c.NotBefore.Add(off)
					list = append(list, signJWT(t, &c))
				}
				return list
			}
			want := func(what string, code core.Code, tokens []string) {
				t.Helper()
				for i, token := range tokens {
					if v := lookup(t, e, token); v.Code != code {
						t.Errorf("imported again %s: %s, token %d: got %d, want %d", name, what, i, v.Code, code)
					}
				}
			}
			key := importKey()
			before := tokens()
			want("before the deletion", core.CodeValid, before)
			if err := e.Delete(t.Context(), key.ID); err != nil {
				t.Fatal(err)
			}
			want("deleted", core.CodeNotFound, before)
			time.Sleep(pause)
			importKey()
			want("of the deleted key", core.CodeNotFound, before)
			want("of the new key", core.CodeValid, tokens())
		})
	}
}

func TestAttack17_SignedTokensFromElsewhereAreRefused(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, func(c *engine.Config) {
		withSigning(c)
		c.Issuer, c.RetiredIssuers = "https://new.example", []string{"https://old.example"}
	})
	key, _ := issue(t, e, nil)
	for name, tc := range map[string]struct {
		change func(c *credential.Claims)
		want   core.Code
	}{
		"as it should be": {func(*credential.Claims) {}, core.CodeValid},
		"a retired issuer": {
			func(c *credential.Claims) { c.Issuer = "https://old.example" }, core.CodeValid,
		},
		"another issuer": {
			func(c *credential.Claims) { c.Issuer = "https://new.example.evil" }, core.CodeSignatureInvalid,
		},
		"another network": {
			func(c *credential.Claims) { c.Network = uuid.New() }, core.CodeSignatureInvalid,
		},
		"a key id of no form": {func(c *credential.Claims) { c.KeyID = "alice" }, core.CodeSignatureInvalid},
		"a huge exp": {
			func(c *credential.Claims) { c.ExpireTime = time.Unix(253402300799, 0) }, core.CodeSignatureInvalid,
		},
		"expired before it was made": {
			func(c *credential.Claims) { c.ExpireTime = c.IssueTime.Add(-time.Second) }, core.CodeSignatureInvalid,
		},
		"expired within the leeway": {
			func(c *credential.Claims) { c.ExpireTime = c.IssueTime; shift(c, -4*time.Minute) }, core.CodeValid,
		},
		"expired beyond the leeway": {
			func(c *credential.Claims) { shift(c, -time.Hour-6*time.Minute) }, core.CodeExpired,
		},
		"early, within the leeway": {func(c *credential.Claims) { shift(c, 4*time.Minute) }, core.CodeValid},
		"early, beyond the leeway": {
			func(c *credential.Claims) { shift(c, 6*time.Minute) }, core.CodeSignatureInvalid,
		},
		"not yet, though made before": {
			func(c *credential.Claims) { c.NotBefore = c.IssueTime.Add(10 * time.Minute) }, core.CodeSignatureInvalid,
		},
		"made later, though valid": {
			func(c *credential.Claims) { c.IssueTime = c.IssueTime.Add(10 * time.Minute) }, core.CodeSignatureInvalid,
		},
		"a scope that is none": {
			func(c *credential.Claims) { c.Scopes = []string{"a b"} }, core.CodeSignatureInvalid,
		},
		"a range that is none": {
			func(c *credential.Claims) { c.CIDRs = []string{"everywhere"} }, core.CodeSignatureInvalid,
		},
		"an unknown key": {func(c *credential.Claims) { c.KeyID = uuid.NewString() }, core.CodeNotFound},
	} {
		c := claimsOf(&key)
		c.Issuer = "https://new.example"
		tc.change(c)
		for _, token := range []string{signJWT(t, c), mintMacaroon(t, c)} {
			for range 2 { // the second time from memory
				if v := lookup(t, e, token); v.Code != tc.want {
					t.Errorf("%s: %+v, want code %d", name, v, tc.want)
				}
			}
		}
	}
	other := newEngine(t, store, func(c *engine.Config) { c.Issuer = "https://new.example" })
	c := claimsOf(&key)
	c.Issuer = "https://new.example"
	if v := lookup(t, other, signJWT(t, c)); v.Code != core.CodeSignatureInvalid {
		t.Errorf("without signing keys a JWT reads %+v", v)
	}
}

func shift(c *credential.Claims, by time.Duration) {
	c.IssueTime, c.NotBefore, c.ExpireTime = c.IssueTime.Add(by), c.NotBefore.Add(by), c.ExpireTime.Add(by)
}

func TestAttack17_AGenuineTokenDoesNotVouchForAnother(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), withSigning)
	_, secret := issue(t, e, nil)
	token := derive(t, e, secret, engine.AlgorithmJWT, nil).Token
	if v := lookup(t, e, token); v.Code != core.CodeValid {
		t.Fatalf("%+v", v)
	}
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "alice", "mallo", 1)))
	if v := lookup(t, e, strings.Join(parts, ".")); v.Code != core.CodeSignatureInvalid {
		t.Errorf("%+v", v)
	}
}
