package adminapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

const derivePath = anyPath + ":derive"

func (n *node) derive(t *testing.T, cred, fields string) client.Token {
	t.Helper()
	w := apitest.Post(n.admin, derivePath, `{"credential":"`+cred+`"`+fields+`}`)
	if w.Code != http.StatusOK {
		t.Fatalf("derive: %d %s", w.Code, w.Body)
	}
	apitest.WantHeaders(t, w)
	return apitest.Unmarshal[client.DeriveResponse](t, w.Body.Bytes()).Token
}

func TestADerivedTokenStandsForItsKeyUntilThatIsRevoked(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for algorithm, prefix := range map[string]string{
		"": "eyJ", `,"algorithm":"TOKEN_ALGORITHM_UNSPECIFIED"`: "eyJ", `,"algorithm":"TOKEN_ALGORITHM_JWT"`: "eyJ",
		`,"algorithm":"TOKEN_ALGORITHM_MACAROON"`: "mc_v1_",
	} {
		k := n.issue(t, `,"scopes":["a","b"]`)
		token := n.derive(t, k.Secret,
			algorithm+`,"ttl":"10m","scopes":["b"],`+
				`"custom_claims":{"plan":"pro","Plan":1,"sub":"root"}`)
		claims := apitest.Unmarshal[map[string]any](t, token.Claims)
		if !strings.HasPrefix(token.Token, prefix) || claims["sub"] != k.IssuedAPIKey.KeyID ||
			claims["plan"] != "pro" ||
			claims["Plan"] != 1.0 || len(token.Scopes) != 1 || token.ExpireTime.IsZero() {
			t.Fatalf("got %+v", token)
		}
		v := n.verify(t, token.Token)
		if !v.IsValid || v.KeyID != k.IssuedAPIKey.KeyID || !slices.Equal(v.Scopes, []string{"b"}) {
			t.Errorf("got %+v", v)
		}
		apitest.Post(n.admin, anyPath+"/"+k.IssuedAPIKey.KeyID+":revoke", "")
		if v := n.verify(t, token.Token); v.ErrorCode != client.VerificationErrorRevoked {
			t.Errorf("after the revocation of its key: %+v", v)
		}
	}
}

func TestAnExpiredTokenSaysThatItIsAndNothingThatIsNotKnown(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	token := n.derive(t, n.issue(t, "").Secret, `,"algorithm":"TOKEN_ALGORITHM_MACAROON"`).Token
	for _, until := range []string{"2020-01-02T03:04:05Z", "0000-01-01T00:00:00+23:59"} {
		expired, err := credential.AppendCaveats(token, "expires="+until)
		if err != nil {
			t.Fatal(err)
		}
		v := n.verify(t, expired)
		if v.ErrorCode != client.VerificationErrorExpired || v.Status != client.KeyStatusExpired ||
			v.Visibility != "" ||
			v.ExpireTime.IsZero() || v.ExpireTime.Year() > 2020 {
			t.Errorf("%s: got %+v", until, v)
		}
	}
}

func TestAbsentScopesAreAllAndEmptyOnesNone(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, `,"scopes":["a","b"]`).Secret
	for fields, want := range map[string]int{"": 2, `,"scopes":null`: 2, `,"scopes":[]`: 0, `,"scopes":["a"]`: 1} {
		if v := n.verify(t, n.derive(t, k, fields).Token); len(v.Scopes) != want {
			t.Errorf("%s: got %q", fields, v.Scopes)
		}
	}
}

func TestDeriveTellsWhyThereIsNoToken(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, `,"scopes":["a"],"ttl":"1h"`).Secret
	revoked := n.issue(t, "")
	apitest.Post(n.admin, anyPath+"/"+revoked.IssuedAPIKey.KeyID+":revoke", "")
	office := n.issue(t, `,"ip_restriction":{"allowed_cidrs":["198.51.100.0/24"]}`).Secret
	token := n.derive(t, k, `,"ttl":"10m"`).Token
	for body, want := range map[string]struct {
		status int
		reason core.Reason
	}{
		`{}`:                                                       {400, core.CredentialRequired},
		`{"credential":null}`:                                      {400, core.CredentialRequired},
		`{"credential":"` + token + `"}`:                           {400, core.InvalidTokenType},
		`{"credential":"a\u0000b"}`:                                {400, core.InvalidKeyFormat},
		`{"credential":"nothing"}`:                                 {401, core.ParentKeyInvalid},
		`{"credential":"` + k + `x"}`:                              {401, core.ParentKeyInvalid},
		`{"credential":"` + office + `"}`:                          {403, core.IPNotAllowed},
		`{"credential":"` + revoked.Secret + `"}`:                  {401, core.KeyRevoked},
		`{"credential":"` + k + `","scopes":["b"]}`:                {403, core.Forbidden},
		`{"credential":"` + k + `","ttl":"2h"}`:                    {400, core.BadRequest},
		`{"credential":"` + k + `","ttl":"0s"}`:                    {400, core.BadRequest},
		`{"credential":"` + k + `","ttl":"x"}`:                     {400, core.BadRequest},
		`{"credential":"` + k + `","algorithm":"JWT"}`:             {400, core.BadRequest},
		`{"credential":"` + k + `","custom_claims":[]}`:            {400, core.BadRequest},
		`{"credential":"` + k + `","custom_claims":"x"}`:           {400, core.BadRequest},
		`{"credential":"` + k + `","custom_claims":{"a":1,"a":2}}`: {400, core.BadRequest},
	} {
		w := apitest.Post(n.admin, derivePath, body)
		e := apitest.WantError(t, w, want.status, want.reason)
		if strings.Contains(e.Message, k) {
			t.Errorf("the message %q repeats the credential", e.Message)
		}
	}
	n.from(netip.MustParseAddr("198.51.100.7"))
	n.derive(t, office, "")
}

func TestTheKeySetIsForBothKindsOfReader(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	set := apitest.Unmarshal[client.JWKS](t, apitest.Get(n.publicHandler(), jwksPath).Body.Bytes())
	if len(set.Keys) != 1 || len(set.JWKS.Keys) != 1 || string(set.Keys[0]) != string(set.JWKS.Keys[0]) {
		t.Errorf("got %+v", set)
	}
	key := apitest.Unmarshal[map[string]string](t, set.Keys[0])
	if key["kty"] != "OKP" || key["alg"] != "EdDSA" || key["kid"] == "" || key["d"] != "" {
		t.Errorf("got %v", key)
	}
}
