package credential

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func TestJWT_SaysWhatWasSigned(t *testing.T) {
	t.Parallel()
	k := bothKeys(t, "")
	for name, change := range map[string]func(*Claims){
		"everything":      func(*Claims) {},
		"as little as is": func(c *Claims) { c.Scopes, c.Metadata, c.CIDRs, c.Custom = nil, nil, nil, nil },
		"a public key":    func(c *Claims) { c.Public = true },
	} {
		want := someClaims()
		change(want)
		token, err := k.SignJWT(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.ParseJWT(token)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want.Scopes == nil {
			want.Scopes, want.Custom = []string{}, map[string]json.RawMessage{}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

// The claims are the contract's; other software reads them.
func TestJWT_HasTheContractsClaims(t *testing.T) {
	t.Parallel()
	const want = `{"acl":["10.0.0.0/8"],"act":"alice","exp":1700003600,"iat":1700000000,` +
		`"iss":"https://api.example.com","jti":"token-1","meta":{"plan":"gold"},"nbf":1700000000,` +
		`"nid":"00000000-0000-0000-0000-000000000000","scp":["orders:read","orders:*"],` +
		`"sub":"6f3cbd64-3f0b-4d7e-9f5e-0c6a5a6b7c8d","tenant":"t1","vis":"secret"}`
	if got := payloadOf(t, someClaims()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCustomClaims_CannotReplaceTheServersOwn(t *testing.T) {
	t.Parallel()
	custom, err := CustomClaims(json.RawMessage(`{"jti":1,"sub":1,"iss":1,"aud":1,"iat":1,"exp":1,"nbf":1,"nid":1,` +
		`"akid":1,"pid":1,"tty":1,"oid":1,"act":1,"scp":1,"scope":1,"meta":1,"vis":1,"acl":1,"mine":[1,2]}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(custom) != 1 || string(custom["mine"]) != "[1,2]" {
		t.Errorf("got %s", custom)
	}
	// encoding/json takes each of them for one of the above.
	custom, err = CustomClaims(
		json.RawMessage(`{"Sub":1,"\u017fub":1,"i\u017f\u017f":1,"EXP":1,"a\u212aid":1,"scopes":1}`))
	if err != nil || len(custom) != 1 || string(custom["scopes"]) != "1" {
		t.Errorf("got %s, %v", custom, err)
	}
	c := someClaims()
	c.Custom = map[string]json.RawMessage{"sub": json.RawMessage(`"other"`), "aud": json.RawMessage(`"other"`)}
	if got := payloadOf(t, c); strings.Contains(got, "other") {
		t.Errorf("a custom claim replaced another: %s", got)
	}
	c.Custom = map[string]json.RawMessage{"\u017fub": json.RawMessage(`"other"`), "EXP": json.RawMessage(`"other"`)}
	if got := payloadOf(t, c); strings.Contains(got, "other") {
		t.Errorf("a custom claim that readers take for another stays: %s", got)
	}
	for _, bad := range []string{`[1]`, `1`, `"x"`, `{"a":1,"a":2}`, `{"a":1}x`, `{`, "{\"\xff\":1}"} {
		if _, err := CustomClaims(json.RawMessage(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestAttack17_JWTsThatWereNotSignedWithTheRightKeyAreRefused(t *testing.T) {
	t.Parallel()
	k := bothKeys(t, "")
	good := payloadOf(t, someClaims())
	edPublic := []byte(edPublicKey(t, edKey()))
	ed, rs := jwt.SigningMethodEdDSA, jwt.SigningMethodRS256
	none := segment(`{"alg":"none","kid":"ed"}`) + "." + segment(good) + "."
	for name, token := range map[string]string{
		"alg none":                   none,
		"alg none, something behind": none + "AA",
		"HS256 with the public key":  sign(t, jwt.SigningMethodHS256, edPublic, `{"alg":"HS256","kid":"ed"}`, good),
		"HS256 called EdDSA":         sign(t, jwt.SigningMethodHS256, edPublic, `{"alg":"EdDSA","kid":"ed"}`, good),
		"RS256 with the Ed25519 kid": sign(t, rs, rsaKey(), `{"alg":"RS256","kid":"ed"}`, good),
		"EdDSA with the RSA kid":     sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"rsa"}`, good),
		"PS256 with the RSA key": sign(t, jwt.SigningMethodPS256, rsaKey(),
			`{"alg":"PS256","kid":"rsa"}`, good),
		"RS512 with the RSA key": sign(t, jwt.SigningMethodRS512, rsaKey(),
			`{"alg":"RS512","kid":"rsa"}`, good),
		"a foreign kid":          sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"other"}`, good),
		"a kid that is a path":   sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"../ed"}`, good),
		"a kid that is a number": sign(t, ed, edKey(), `{"alg":"EdDSA","kid":1}`, good),
		"no kid":                 sign(t, ed, edKey(), `{"alg":"EdDSA"}`, good),
		"no alg":                 sign(t, ed, edKey(), `{"kid":"ed"}`, good),
		"alg in another case":    sign(t, ed, edKey(), `{"alg":"eddsa","kid":"ed"}`, good),
		"an embedded jwk":        sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"ed","jwk":{"kty":"OKP"}}`, good),
		"a jku": sign(t, ed, edKey(),
			`{"alg":"EdDSA","kid":"ed","jku":"https://evil.example"}`, good),
		"an x5u": sign(t, ed, edKey(),
			`{"alg":"EdDSA","kid":"ed","x5u":"https://evil.example"}`, good),
		"an x5c":                         sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"ed","x5c":["AA"]}`, good),
		"crit":                           sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"ed","crit":["exp"]}`, good),
		"crit, empty":                    sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"ed","crit":[]}`, good),
		"b64":                            sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"ed","b64":false}`, good),
		"alg twice":                      sign(t, ed, edKey(), `{"alg":"none","alg":"EdDSA","kid":"ed"}`, good),
		"kid twice":                      sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"x","kid":"ed"}`, good),
		"another object behind a header": sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"ed"}{}`, good),
	} {
		if c, err := k.ParseJWT(token); err == nil {
			t.Errorf("%s: accepted as %+v", name, c)
		}
	}
	if _, err := k.ParseJWT(sign(t, ed, edKey(), `{"alg":"EdDSA","kid":"ed","typ":"JWT"}`, good)); err != nil {
		t.Errorf("the good one that the bad ones are made of: %v", err)
	}
}

// The library compares the algorithm with the key's type once more. This is about our own choice.
func TestAttack17_TheAlgorithmIsTheKeysAndNotTheTokens(t *testing.T) {
	t.Parallel()
	k := bothKeys(t, "")
	for _, method := range []jwt.SigningMethod{
		jwt.SigningMethodEdDSA, jwt.SigningMethodRS256, jwt.SigningMethodRS512, jwt.SigningMethodHS256,
		jwt.SigningMethodNone,
	} {
		for kid, right := range map[string]string{
			"ed": "EdDSA", "rsa": "RS256", "other": "no algorithm", "": "no algorithm",
		} {
			_, err := k.keyFor(&jwt.Token{Method: method, Header: map[string]any{"kid": kid}})
			if (err == nil) != (method.Alg() == right) {
				t.Errorf("%s with kid %q: %v", method.Alg(), kid, err)
			}
		}
	}
}

func TestAttack17_JWTsWithWrongClaimsAreRefusedThoughSigned(t *testing.T) {
	t.Parallel()
	k := bothKeys(t, "")
	good := payloadOf(t, someClaims())
	bad := map[string]string{
		"sub twice":          strings.Replace(good, `"sub":`, `"sub":"x","sub":`, 1),
		"exp twice":          good[:len(good)-1] + `,"exp":9999999999}`,
		"exp twice, escaped": good[:len(good)-1] + `,"\u0065xp":9999999999}`,
		"an audience":        with(t, good, "aud", `"somebody else"`),
		"null":               `null`,
		"a list":             `[]`,
		"nothing":            `{}`,
		"something behind":   good + `{}`,
		"invalid UTF-8":      strings.Replace(good, "alice", "al\xffce", 1),
	}
	for _, name := range []string{"iss", "sub", "nid", "jti", "act", "iat", "nbf", "exp", "vis", "scp"} {
		bad["no "+name] = with(t, good, name, "")
		for _, value := range []string{"null", "{}", "[1]", "true", `""`, "-1", "1.5"} {
			bad[name+" is "+value] = with(t, good, name, value)
		}
	}
	for _, value := range []string{
		"1e300", "9223372036854775807", "99999999999999999999", "253402300800", `"1700003600"`, "17e8", "null",
	} {
		bad["exp is "+value] = with(t, good, "exp", value)
	}
	bad["nid in capitals"] = with(t, good, "nid", `"550E8400-E29B-41D4-A716-446655440001"`)
	bad["an empty acl"] = with(t, good, "acl", `[]`)
	bad["an acl of null"] = with(t, good, "acl", `null`)
	bad["an acl with null"] = with(t, good, "acl", `[null]`)
	bad["scopes with null"] = with(t, good, "scp", `["a",null]`)
	bad["metadata is a list"] = with(t, good, "meta", `[]`)
	bad["an unknown visibility"] = with(t, good, "vis", `"any"`)
	for name, payload := range bad {
		token := sign(t, jwt.SigningMethodEdDSA, edKey(), `{"alg":"EdDSA","kid":"ed"}`, payload)
		if c, err := k.ParseJWT(token); err == nil {
			t.Errorf("%s: accepted as %+v", name, c)
		}
	}
}

func TestAttack17_AJWTHasOneSpelling(t *testing.T) {
	t.Parallel()
	k := bothKeys(t, "")
	token, err := k.SignJWT(someClaims())
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(token) {
		if _, err := k.ParseJWT(flipBit(token, bit)); err == nil {
			t.Errorf("with bit %d flipped it still verifies", bit)
		}
	}
	for _, s := range []string{
		token + "=", token + "\n", "\n" + token, token + ".", strings.Replace(token, ".", ".\n", 1),
	} {
		if _, err := k.ParseJWT(s); err == nil {
			t.Errorf("%q verifies", s)
		}
	}
}

// FuzzParseJWT looks for a token that verifies and was not signed: whatever is accepted must carry a signature that
// the one key made over exactly these bytes.
func FuzzParseJWT(f *testing.F) {
	k := bothKeys(f, "")
	good, err := k.SignJWT(someClaims())
	if err != nil {
		f.Fatal(err)
	}
	payload := payloadOf(f, someClaims())
	f.Add(good, []byte(payload))
	f.Add(segment(`{"alg":"none"}`)+"."+segment(payload)+".", []byte(`{"exp":1e999,"exp":1}`))
	f.Add("..", []byte(`null`))
	f.Add("eyJ.e30.AA", []byte(strings.Repeat("[", 10000)))
	f.Fuzz(func(t *testing.T, token string, payload []byte) {
		if _, err := k.ParseJWT(token); err == nil && token != good {
			parts := strings.Split(token, ".")
			sum, err := base64.RawURLEncoding.DecodeString(parts[2])
			if err != nil || jwt.SigningMethodEdDSA.Verify(parts[0]+"."+parts[1], sum, edKey().Public()) != nil {
				t.Fatalf("%q verifies", token)
			}
		}
		signed := sign(t, jwt.SigningMethodEdDSA, edKey(), `{"alg":"EdDSA","kid":"ed"}`, string(payload))
		c, err := k.ParseJWT(signed)
		if err != nil {
			return
		}
		if c.KeyID == "" || c.Issuer == "" || c.ExpireTime.IsZero() || c.ExpireTime.Unix() > maxNumericDate {
			t.Fatalf("%q reads as %+v", payload, c)
		}
		if keyID, expires := new(Format).Claimed(signed); keyID != c.KeyID || !expires.Equal(c.ExpireTime) {
			t.Fatalf("%q claims the key %q until %s", payload, keyID, expires)
		}
		again := &Claims{}
		if err := json.Unmarshal([]byte(payloadOf(t, c)), again); err != nil || !c.ExpireTime.Equal(again.ExpireTime) ||
			c.KeyID != again.KeyID || !reflect.DeepEqual(c.Scopes, again.Scopes) {
			t.Fatalf("%q reads as %+v and then as %+v (%v)", payload, c, again, err)
		}
	})
}

func BenchmarkParseJWT(b *testing.B) {
	for _, active := range []string{"ed", "rsa"} {
		k := bothKeys(b, active)
		token, err := k.SignJWT(someClaims())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(active, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.ParseJWT(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
