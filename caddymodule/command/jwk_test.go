package command

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/talos-edge/talos-edge/core/credential"
)

func generated(t *testing.T, args ...string) (jose.JSONWebKey, string) {
	t.Helper()
	stdout, stderr, err := runTree(t.Context(), "", append([]string{"jwk", "generate"}, args...)...)
	if err != nil || stderr != "" {
		t.Fatal(err, stderr)
	}
	var key jose.JSONWebKey
	if err := json.Unmarshal([]byte(stdout), &key); err != nil {
		t.Fatal(err)
	}
	return key, stdout
}

func TestEachKindOfKeyIsMadeAsAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args     []string
		alg, use string
		size     int // in bits
	}{
		"eddsa":          {[]string{"eddsa"}, "EdDSA", "sig", 256},
		"eddsa by curve": {[]string{"eddsa", "--curve", "Ed25519", "--alg", "EdDSA"}, "EdDSA", "sig", 256},
		"rsa":            {[]string{"rsa"}, "RS256", "sig", 3072},
		"rsa small":      {[]string{"rsa", "--bits", "2048", "--alg", "PS512"}, "PS512", "sig", 2048},
		"rsa enc":        {[]string{"rsa", "--bits", "2048", "--use", "enc"}, "RSA-OAEP-256", "enc", 2048},
		"ecdsa":          {[]string{"ecdsa"}, "ES256", "sig", 256},
		"ecdsa by alg":   {[]string{"ecdsa", "--alg", "ES384"}, "ES384", "sig", 384},
		"ecdsa by curve": {[]string{"ecdsa", "--curve", "P-521"}, "ES512", "sig", 521},
		"ecdsa enc": {
			[]string{"ecdsa", "--curve", "P-384", "--use", "enc", "--alg", "ECDH-ES+A256KW"},
			"ECDH-ES+A256KW", "enc", 384,
		},
		"ecdsa enc less": {[]string{"ecdsa", "--use", "enc"}, "ECDH-ES", "enc", 256},
		"hmac":           {[]string{"hmac"}, "HS256", "sig", 256},
		"hmac by alg":    {[]string{"hmac", "--alg", "HS512"}, "HS512", "sig", 512},
		"hmac by bits":   {[]string{"hmac", "--bits", "1024"}, "HS256", "sig", 1024},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, _ := generated(t, c.args...)
			size := 0
			switch k := key.Key.(type) {
			case ed25519.PrivateKey:
				size = len(k) * 8 / 2
			case *rsa.PrivateKey:
				size = k.N.BitLen()
			case *ecdsa.PrivateKey:
				size = k.Curve.Params().BitSize
			case []byte:
				size = len(k) * 8
			default:
				t.Fatalf("a private key is a %T", k)
			}
			if key.Algorithm != c.alg || key.Use != c.use || size != c.size {
				t.Errorf("%s %s of %d bits, want %s %s of %d", key.Algorithm, key.Use, size, c.alg, c.use, c.size)
			}
			sum, err := key.Thumbprint(crypto.SHA256)
			if err == nil && key.KeyID != base64.RawURLEncoding.EncodeToString(sum) {
				t.Errorf("kid %q is not the thumbprint", key.KeyID)
			}
			if key.KeyID == "" {
				t.Error("no kid")
			}
			if other, _ := generated(t, c.args...); other.KeyID == key.KeyID {
				t.Error("the same key again")
			}
		})
	}
}

func TestAKeyTakesItsIDAndLosesItsPrivatePartOnRequest(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"eddsa"}, {"rsa", "--bits", "2048"}, {"ecdsa"}} {
		key, text := generated(t, append(args, "--kid", "k 1", "--public-only")...)
		if key.KeyID != "k 1" || !key.IsPublic() || strings.Contains(text, `"d"`) {
			t.Errorf("%v: %s", args, text)
		}
	}
}

func TestAMadeSetIsOneThatAServerSignsWith(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"eddsa"}, {"rsa", "--bits", "2048"}} {
		for _, set := range []string{"--jwks", "--jwks=false"} {
			stdout, _, err := runTree(t.Context(), "", append([]string{"jwk", "generate", set}, args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := credential.ParseSigningKeys([]byte(stdout), ""); err != nil {
				t.Errorf("%v %s: %v", args, set, err)
			}
		}
	}
}

func TestAKeyFileIsForItsOwnerAndNeverWrittenOver(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key.jwk")
	args := []string{"jwk", "generate", "eddsa", "-o", file}
	if stdout, stderr, err := runTree(t.Context(), "", args...); err != nil || stdout+stderr != "" {
		t.Fatal(err, stdout, stderr)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", err, info)
	}
	before := read(t, file)
	if _, stderr, err := runTree(t.Context(), "", args...); err == nil || !strings.Contains(stderr, "exists") {
		t.Error(err, stderr)
	}
	if read(t, file) != before {
		t.Error("the file was written over")
	}
}

func TestKeysThatNobodyShouldMakeAreRefused(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"unknown kind":         {"dsa"},
		"one of eddsa":         {},
		"2048 to 8192":         {"rsa", "--bits", "1024"},
		"an rsa key has":       {"rsa", "--bits", "65536"},
		"--bits goes with":     {"ecdsa", "--bits", "256"},
		"256 to 4096":          {"hmac", "--bits", "128"},
		"512 to 4096":          {"hmac", "--bits", "256", "--alg", "HS512"},
		"multiple of 8":        {"hmac", "--bits", "257"},
		"no public part":       {"hmac", "--public-only"},
		"keys with --use":      {"rsa", "--alg", "none"},
		"take ES256":           {"ecdsa", "--alg", "RS256"},
		"goes with ES384":      {"ecdsa", "--alg", "ES256", "--curve", "P-384"},
		"must be P-256, P-384": {"ecdsa", "--curve", "secp256k1"},
		"eddsa has Ed25519":    {"eddsa", "--curve", "Ed448"},
		"the others have no":   {"rsa", "--curve", "P-256"},
		"must be sig or enc":   {"rsa", "--use", "both"},
		"are for sig only":     {"eddsa", "--use", "enc"},
	} {
		stdout, _, err := runTree(t.Context(), "", append([]string{"jwk", "generate"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) || stdout != "" {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}
