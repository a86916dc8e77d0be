package command

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// The uses of a key (RFC 7517, section 4.2).
const (
	useSignature  = "sig"
	useEncryption = "enc"
)

// Sizes of keys in bits. An RSA key of 3072 bits is as strong as a curve of 256 (NIST SP 800-57, part 1, table 2).
const (
	defaultRSABits = 3072
	minRSABits     = 2048
	maxRSABits     = 8192
	maxHMACBits    = 4096
	bitsOfByte     = 8
)

// keyRecipe says what key to make.
type keyRecipe struct {
	kind       string // eddsa, rsa, ecdsa or hmac
	kid        string // empty: the thumbprint (RFC 7638); of an HMAC key, which that would give a hash of, a random one
	use        string
	alg        string // empty: the kind's usual one
	curve      string // empty: the algorithm's, or the kind's usual one
	bits       int    // 0: the kind's usual size
	set        bool   // as a JWK Set
	publicOnly bool

	elliptic elliptic.Curve // what curve names
}

// kindsOfKeys are the kinds of keys, with the algorithms that they can be used with. The first is the usual one.
var kindsOfKeys = map[string]map[string][]string{
	"eddsa": {useSignature: {"EdDSA"}},
	"rsa": {
		useSignature:  {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
		useEncryption: {"RSA-OAEP-256", "RSA-OAEP"},
	},
	"ecdsa": {
		useSignature:  {"ES256", "ES384", "ES512"},
		useEncryption: {"ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW"},
	},
	"hmac": {useSignature: {"HS256", "HS384", "HS512"}},
}

// curves are the curves of ECDSA, with the one signature algorithm that each goes with (RFC 7518, section 3.4).
var curves = []struct {
	name, alg string
	curve     elliptic.Curve
}{
	{"P-256", "ES256", elliptic.P256()},
	{"P-384", "ES384", elliptic.P384()},
	{"P-521", "ES512", elliptic.P521()},
}

func newGenerate() *cobra.Command {
	var r keyRecipe
	var file string
	kinds := []string{"eddsa", "rsa", "ecdsa", "hmac"}
	cmd := &cobra.Command{
		Use:   "generate eddsa|rsa|ecdsa|hmac",
		Short: "Makes a key",
		Long: `Makes a key and prints it as a JSON Web Key, the private part included, or writes
it to a file which only you can read. A file that exists is left as it is, and that
is an error.

  eddsa   Ed25519. A server signs tokens with it (EdDSA)
  rsa     2048 to 8192 bits (default 3072). A server signs tokens with it (RS256)
  ecdsa   P-256 (default), P-384 or P-521. For other software
  hmac    256 to 4096 bits (default: as many as --alg has). For other software

--public-only leaves the private part out; nobody can sign with such a key. Without
--kid a key's id is its thumbprint (RFC 7638), and that of an hmac key is random.`,
		Example: `  $ talos jwk generate eddsa --jwks -o signing.jwks
  $ talos jwk generate rsa --bits 2048 --kid 2026-01 -o rsa.jwk`,
		ValidArgs: kinds,
		Args:      exactly("one of " + strings.Join(kinds, ", ")),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.kind = args[0]
			out, err := r.generate()
			if err != nil {
				return err
			}
			if file != "" && file != "-" {
				return createPrivate(file, out)
			}
			_, err = cmd.OutOrStdout().Write(out)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&r.kid, "kid", "", "id of the key")
	flags.StringVar(&r.use, "use", useSignature,
		"what it is for: "+useSignature+" or, with rsa and ecdsa, "+useEncryption)
	flags.StringVar(&r.alg, "alg", "", "the algorithm that it is for, such as RS256, PS512 or ES384")
	flags.IntVar(&r.bits, "bits", 0, "size of an rsa or hmac key")
	flags.StringVar(&r.curve, "curve", "", "curve of an ecdsa key")
	flags.BoolVar(&r.set, "jwks", false, "as a JWK Set")
	flags.BoolVar(&r.publicOnly, "public-only", false, "without the private part")
	flags.StringVarP(&file, "output", "o", "", "write to a new `FILE` in place of standard output")
	completeValues(cmd, "use", useSignature, useEncryption)
	var algs, names []string
	for _, kind := range kinds {
		algs = append(append(algs, kindsOfKeys[kind][useSignature]...), kindsOfKeys[kind][useEncryption]...)
	}
	for _, c := range curves {
		names = append(names, c.name)
	}
	completeValues(cmd, "alg", algs...)
	completeValues(cmd, "curve", names...)
	return cmd
}

// generate makes the key and returns it as indented JSON.
func (r *keyRecipe) generate() ([]byte, error) {
	if err := r.complete(); err != nil {
		return nil, err
	}
	key, err := r.material()
	if err != nil {
		return nil, err
	}
	jwk := jose.JSONWebKey{Key: key, KeyID: r.kid, Algorithm: r.alg, Use: r.use}
	switch {
	case r.kid != "":
	case r.kind == "hmac":
		jwk.KeyID = uuid.NewString()
	default:
		sum, err := jwk.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("making a kid: %w", err)
		}
		jwk.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	}
	if r.publicOnly {
		jwk = jwk.Public()
	}
	var value any = jwk
	if r.set {
		value = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}}
	}
	compact, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("writing the key: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		return nil, fmt.Errorf("writing the key: %w", err)
	}
	return append(out.Bytes(), '\n'), nil
}

// complete checks the recipe and fills in what it leaves open.
func (r *keyRecipe) complete() error {
	uses, ok := kindsOfKeys[r.kind]
	if !ok {
		return errors.New("unknown kind of key: it must be eddsa, rsa, ecdsa or hmac")
	}
	algs, ok := uses[r.use]
	switch {
	case r.use != useSignature && r.use != useEncryption:
		return errors.New("--use: must be " + useSignature + " or " + useEncryption)
	case !ok:
		return fmt.Errorf("--use: %s keys are for %s only", r.kind, useSignature)
	case r.alg != "" && !slices.Contains(algs, r.alg):
		return fmt.Errorf("--alg: %s keys with --use %s take %s", r.kind, r.use, strings.Join(algs, ", "))
	case r.bits != 0 && r.kind != "rsa" && r.kind != "hmac":
		return errors.New("--bits goes with rsa and hmac")
	case r.curve != "" && r.kind != "ecdsa" && (r.kind != "eddsa" || r.curve != "Ed25519"):
		return errors.New("--curve: eddsa has Ed25519, ecdsa has P-256, P-384 and P-521, and the others have none")
	case r.kind == "hmac" && r.publicOnly:
		return errors.New("--public-only: an hmac key has no public part")
	}
	if r.kind == "ecdsa" {
		return r.completeCurve(algs[0])
	}
	if r.alg == "" {
		r.alg = algs[0]
	}
	return r.completeBits()
}

// completeBits checks the size of a key.
func (r *keyRecipe) completeBits() error {
	switch r.kind {
	case "rsa":
		if r.bits == 0 {
			r.bits = defaultRSABits
		}
		if r.bits < minRSABits || r.bits > maxRSABits {
			return fmt.Errorf("--bits: an rsa key has %d to %d", minRSABits, maxRSABits)
		}
	case "hmac":
		least := map[string]int{"HS256": 256, "HS384": 384, "HS512": 512}[r.alg] // RFC 7518, section 3.2
		if r.bits == 0 {
			r.bits = least
		}
		if r.bits < least || r.bits > maxHMACBits || r.bits%bitsOfByte != 0 {
			return fmt.Errorf("--bits: a key for %s has %d to %d, a multiple of 8", r.alg, least, maxHMACBits)
		}
	}
	return nil
}

// completeCurve fits curve and algorithm together.
func (r *keyRecipe) completeCurve(usual string) error {
	if r.alg == "" && r.use == useEncryption {
		r.alg = usual
	}
	for _, c := range curves {
		if r.curve == c.name || r.curve == "" && (r.alg == c.alg || r.alg == "" || r.use == useEncryption) {
			r.curve, r.elliptic = c.name, c.curve
			if r.alg == "" {
				r.alg = c.alg
			}
			if r.use == useSignature && r.alg != c.alg {
				return fmt.Errorf("--alg: the curve %s goes with %s", c.name, c.alg)
			}
			return nil
		}
	}
	return errors.New("--curve: must be P-256, P-384 or P-521")
}

// material makes the key itself.
func (r *keyRecipe) material() (any, error) {
	var key any
	var err error
	switch r.kind {
	case "eddsa":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, r.bits)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(r.elliptic, rand.Reader)
	default:
		secret := make([]byte, r.bits/bitsOfByte)
		_, err = rand.Read(secret)
		key = secret
	}
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

// createPrivate writes a new file that its owner alone can read.
func createPrivate(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; it is left as it is", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
