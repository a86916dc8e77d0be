package credential

import (
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/mr-tron/base58"
)

// DefaultPrefix and DefaultMacaroonPrefix apply where none is configured.
const (
	DefaultPrefix         = "ory_ak"
	DefaultMacaroonPrefix = "mc"
)

// MaxImportedLength is the length of the longest imported key, in bytes.
const MaxImportedLength = 4096

// version follows the prefix of an issued key and of a macaroon.
const version = "_v1_"

// The longest Base58 texts that Parse decodes: an identifier of 48 bytes has at most 66 digits, a checksum of 32 bytes
// at most 44. Base58 takes time with the square of the length, so nothing longer is tried.
const (
	maxIdentifier = 66
	maxChecksum   = 44
)

// Kind is the kind of a credential.
type Kind uint8

// The kinds, in the order in which they are tried.
const (
	JWT Kind = iota + 1
	Macaroon
	Issued
	Imported
)

// Prefixes are the prefixes of a network's credentials. Empty fields take the defaults; an empty Public means that the
// network has no public keys.
type Prefixes struct {
	Secret        string
	RetiredSecret []string
	Public        string
	RetiredPublic []string
	Macaroon      string

	RetiredMacaroon []string
}

// SecretOrDefault is the prefix of secret keys.
func (p *Prefixes) SecretOrDefault() string { return cmp.Or(p.Secret, DefaultPrefix) }

// Format mints and parses one network's credentials. It is safe for concurrent use.
type Format struct {
	network  uuid.UUID
	keyring  *Keyring
	secret   string
	public   string
	macaroon []string // the current one first
	issued   []issuedPrefix
}

type issuedPrefix struct {
	text   string // with the version
	public bool
}

// Parsed is a credential taken to pieces. What is valid about it depends on its kind.
type Parsed struct {
	Kind  Kind
	KeyID string // of issued and imported keys

	// Of issued keys only.
	Public  bool // by its prefix
	Genuine bool // the checksum is right under one of the secrets
}

var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,15}$`)

// NewFormat makes the format of a network. A prefix has 1 to 16 letters, digits, `_` and `-`, begins with a letter or
// digit and means one thing only; none begins with a macaroon's prefix and `_v1`. Without a keyring (nil) nothing
// can be minted and no checksum is judged: parsed issued keys are not Genuine.
func NewFormat(network uuid.UUID, keyring *Keyring, p Prefixes) (*Format, error) {
	f := &Format{network: network, keyring: keyring, secret: p.SecretOrDefault(), public: p.Public}
	if p.Macaroon == "" {
		p.Macaroon = DefaultMacaroonPrefix
	}
	f.macaroon = append([]string{p.Macaroon}, p.RetiredMacaroon...)
	if p.Public == "" && len(p.RetiredPublic) > 0 {
		return nil, errors.New("retired public prefixes without a current one")
	}
	seen := map[string]bool{}
	add := func(prefix string) error {
		if !prefixPattern.MatchString(prefix) {
			return fmt.Errorf("prefix %q: must be 1 to 16 letters, digits, _ and -, a letter or digit first", prefix)
		}
		if seen[prefix] {
			return fmt.Errorf("prefix %q is configured twice", prefix)
		}
		// Whatever begins like a macaroon is one. Issued keys shadow nothing: all of a key is compared.
		for _, macaroon := range f.macaroon {
			if prefix != macaroon && strings.HasPrefix(prefix+version, macaroon+version) {
				return fmt.Errorf("prefix %q is shadowed by the macaroon prefix %q: what is made under it would be "+
					"taken for a macaroon; choose a prefix that does not begin with %[2]s_v1", prefix, macaroon)
			}
		}
		seen[prefix] = true
		return nil
	}
	for _, prefix := range f.macaroon {
		if err := add(prefix); err != nil {
			return nil, err
		}
	}
	for _, prefix := range append([]string{f.secret}, p.RetiredSecret...) {
		if err := add(prefix); err != nil {
			return nil, err
		}
		f.issued = append(f.issued, issuedPrefix{prefix + version, false})
	}
	if f.public != "" {
		for _, prefix := range append([]string{f.public}, p.RetiredPublic...) {
			if err := add(prefix); err != nil {
				return nil, err
			}
			f.issued = append(f.issued, issuedPrefix{prefix + version, true})
		}
	}
	return f, nil
}

// HasPublic says whether public keys can be minted.
func (f *Format) HasPublic() bool { return f.public != "" }

// Prefix is what the secret or the public keys that are minted begin with. It is empty for public keys when none can be
// minted.
func (f *Format) Prefix(public bool) string {
	if public {
		return f.public
	}
	return f.secret
}

// Accepts reports whether issued keys with a prefix are recognised: it is a current or a retired one.
func (f *Format) Accepts(prefix string) bool {
	return slices.ContainsFunc(f.issued, func(p issuedPrefix) bool { return p.text == prefix+version })
}

// Mint makes the credential of a new issued key. The result is the only copy.
func (f *Format) Mint(keyID uuid.UUID, created time.Time, public bool) (string, error) {
	prefix := f.Prefix(public)
	switch {
	case prefix == "":
		return "", errors.New("no prefix for public keys is configured")
	case f.keyring == nil:
		return "", errors.New("no HMAC secret to mint keys with")
	}
	text := prefix + version + base58.Encode([]byte(strconv.FormatInt(created.Unix(), 10)+":"+keyID.String())) + "_"
	return text + base58.Encode(f.keyring.sign(nil, text)), nil
}

// Parse routes a credential, which [Check] has passed, and takes it to pieces. It does no I/O.
func (f *Format) Parse(credential string) Parsed {
	if isJWT(credential) {
		return Parsed{Kind: JWT}
	}
	if _, ok := f.cutMacaroon(credential); ok {
		return Parsed{Kind: Macaroon}
	}
	for _, prefix := range f.issued {
		rest, ok := strings.CutPrefix(credential, prefix.text)
		if !ok {
			continue
		}
		if keyID, sum, ok := parseIssued(rest); ok {
			signed := credential[:strings.LastIndexByte(credential, '_')+1]
			return Parsed{
				Kind:    Issued,
				KeyID:   keyID,
				Public:  prefix.public,
				Genuine: f.keyring != nil && f.keyring.verify(signed, sum),
			}
		}
	}
	return Parsed{Kind: Imported, KeyID: ImportedKeyID(f.network, credential)}
}

// ImportedKeyID is the key id of an imported key.
func ImportedKeyID(network uuid.UUID, rawKey string) string {
	h := sha512.New512_256()
	_, _ = h.Write([]byte(network.String()))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(rawKey))
	return hex.EncodeToString(h.Sum(nil))
}

// parseIssued takes {identifier}_{checksum} to pieces. There is one spelling of each: anything else is no issued key.
func parseIssued(s string) (keyID string, sum []byte, ok bool) {
	identifier, checksum, found := strings.Cut(s, "_")
	if !found || identifier == "" || len(identifier) > maxIdentifier || checksum == "" || len(checksum) > maxChecksum {
		return "", nil, false
	}
	plain, err := base58.Decode(identifier)
	if err != nil {
		return "", nil, false
	}
	seconds, id, found := strings.Cut(string(plain), ":")
	if !found || !isSeconds(seconds) || !isKeyUUID(id) {
		return "", nil, false
	}
	sum, err = base58.Decode(checksum)
	if err != nil || len(sum) != sha256.Size {
		return "", nil, false
	}
	return id, sum, true
}

// isSeconds says whether s is a decimal number as Mint writes it.
func isSeconds(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// isKeyUUID says whether s is a version 4 UUID in its canonical form.
func isKeyUUID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.Version() == 4 && id.String() == s
}

// isJWT says whether s has the shape of a JWT (RFC 7519 in compact form): three base64url segments, the first of which
// begins like a JSON object.
func isJWT(s string) bool {
	if !strings.HasPrefix(s, "eyJ") || strings.Count(s, ".") != 2 {
		return false
	}
	return !slices.ContainsFunc(strings.Split(s, "."), func(segment string) bool {
		return segment == "" || strings.ContainsFunc(segment, func(c rune) bool {
			return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_'
		})
	})
}
