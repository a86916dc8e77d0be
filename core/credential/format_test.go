package credential

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/mr-tron/base58"
)

const (
	secretA = "an HMAC secret of thirty-two bytes"
	secretB = "another HMAC secret, also long enough"
)

var (
	network = uuid.UUID{}
	created = time.Unix(1700000000, 0)
	keyID   = uuid.MustParse("6f3cbd64-3f0b-4d7e-9f5e-0c6a5a6b7c8d")
)

func newFormat(t testing.TB, p Prefixes, current string, retired ...string) *Format {
	t.Helper()
	keyring, err := NewKeyring(current, retired...)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFormat(network, keyring, p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mint(t testing.TB, f *Format, public bool) string {
	t.Helper()
	s, err := f.Mint(keyID, created, public)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// forge makes an issued key of any identifier with a right checksum, as only a holder of the secret can.
func forge(prefix, identifier, secret string) string {
	text := prefix + "_v1_" + identifier + "_"
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = h.Write([]byte(text))
	return text + base58.Encode(h.Sum(nil))
}

// The expected text was computed with Python's hmac and a Base58 written from its definition.
func TestMint_MakesTheContractsFormat(t *testing.T) {
	t.Parallel()
	f := newFormat(t, Prefixes{}, secretA)
	got := mint(t, f, false)
	want := forge("ory_ak", base58.Encode([]byte("1700000000:6f3cbd64-3f0b-4d7e-9f5e-0c6a5a6b7c8d")), secretA)
	if got != want {
		t.Errorf("minted %q, want %q", got, want)
	}
	const vector = "ory_ak_v1_Qixc7NLprefU41Hwax4gigHpBam8USFWXUSzrkdFrj4DVZkoRSFPJBDcuDehctKD_" +
		"65mDgTyuuw4nNyn9ez7Ub6ETADMYzqZAjibXRcaTns9P"
	if got != vector {
		t.Errorf("minted %q, want %q", got, vector)
	}
}

func TestParse_RoutesEachCredentialToOneKind(t *testing.T) {
	t.Parallel()
	f := newFormat(t, Prefixes{Secret: "acme", RetiredSecret: []string{"old_co"}, Public: "acme_pub"}, secretA)
	good := mint(t, f, false)
	id := base58.Encode([]byte("1700000000:" + keyID.String()))
	for name, tc := range map[string]struct {
		credential string
		kind       Kind
		genuine    bool
		public     bool
	}{
		"a minted key":                       {good, Issued, true, false},
		"a minted public key":                {mint(t, f, true), Issued, true, true},
		"a key under a retired prefix":       {forge("old_co", id, secretA), Issued, true, false},
		"a key under another secret":         {forge("acme", id, secretB), Issued, false, false},
		"a key under a foreign prefix":       {forge("other", id, secretA), Imported, false, false},
		"the default prefix, not configured": {forge("ory_ak", id, secretA), Imported, false, false},
		"a prefix in another case":           {forge("ACME", id, secretA), Imported, false, false},
		"a public key renamed to a secret": {
			strings.Replace(mint(t, f, true), "acme_pub", "acme", 1), Issued, false, false,
		},
		"a changed checksum": {flipLast(good), Issued, false, false},
		"a second checksum":  {good + "_x", Imported, false, false},
		"no checksum":        {good[:strings.LastIndexByte(good, '_')], Imported, false, false},
		"a short checksum":   {good[:len(good)-3], Imported, false, false},
		"the key id alone":   {keyID.String(), Imported, false, false},
		"a UUID in capitals": {
			forge("acme", base58.Encode([]byte("1:"+strings.ToUpper(keyID.String()))), secretA), Imported, false, false,
		},
		"a UUID of another version": {
			forge("acme", base58.Encode([]byte("1:6f3cbd64-3f0b-1d7e-9f5e-0c6a5a6b7c8d")), secretA),
			Imported, false, false,
		},
		"a time with a sign": {
			forge("acme", base58.Encode([]byte("+1:"+keyID.String())), secretA), Imported, false, false,
		},
		"a time with a leading zero": {
			forge("acme", base58.Encode([]byte("01:"+keyID.String())), secretA), Imported, false, false,
		},
		"a negative time": {
			forge("acme", base58.Encode([]byte("-1:"+keyID.String())), secretA), Imported, false, false,
		},
		"an identifier that is not Base58":    {forge("acme", "0OIl", secretA), Imported, false, false},
		"a key with a space behind it":        {good + " ", Imported, false, false},
		"the prefix and nothing":              {"acme_v1_", Imported, false, false},
		"a JWT's shape":                       {"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.sig", JWT, false, false},
		"a JWT's shape without a signature":   {"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", Imported, false, false},
		"two dots in something else":          {"a.b.c", Imported, false, false},
		"a macaroon":                          {"mc_v1_AgEJ", Macaroon, false, false},
		"a macaroon's prefix in another case": {"MC_v1_AgEJ", Imported, false, false},
		"any other string":                    {"sk_live_4242", Imported, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := f.Parse(tc.credential)
			if p.Kind != tc.kind || p.Genuine != tc.genuine || p.Public != tc.public {
				t.Errorf("parsed as %+v, want kind %d, genuine %t, public %t", p, tc.kind, tc.genuine, tc.public)
			}
			if p.Kind == Issued && p.KeyID != keyID.String() {
				t.Errorf("key id %q, want %q", p.KeyID, keyID)
			}
		})
	}
}

func flipLast(s string) string {
	last := byte('2')
	if s[len(s)-1] == last {
		last = '3'
	}
	return s[:len(s)-1] + string(last)
}

func TestParse_TriesRetiredSecretsAndForgetsDroppedOnes(t *testing.T) {
	t.Parallel()
	old := mint(t, newFormat(t, Prefixes{}, secretA), false)
	if !newFormat(t, Prefixes{}, secretB, secretA).Parse(old).Genuine {
		t.Error("a key of a retired secret does not verify")
	}
	if newFormat(t, Prefixes{}, secretB).Parse(old).Genuine {
		t.Error("a key of a dropped secret still verifies")
	}
}

func TestParse_APrefixMayHoldTheVersionOfAnother(t *testing.T) {
	t.Parallel()
	f := newFormat(t, Prefixes{Secret: "a", RetiredSecret: []string{"a_v1_b"}}, secretA)
	id := base58.Encode([]byte("1:" + keyID.String()))
	for _, prefix := range []string{"a", "a_v1_b"} {
		if p := f.Parse(forge(prefix, id, secretA)); p.Kind != Issued || !p.Genuine {
			t.Errorf("a key under prefix %q parsed as %+v", prefix, p)
		}
	}
}

func TestAttack18_AnImportedKeysIDIsBoundToItsNetwork(t *testing.T) {
	t.Parallel()
	// sha512_256("00000000-0000-0000-0000-000000000000" 0x00 "sk_live_4242")
	const want = "4bca60475754055a7957db9eedb86936ee5a666cf31dffbb24abc5644094e918"
	if got := ImportedKeyID(uuid.UUID{}, "sk_live_4242"); got != want {
		t.Errorf("key id %s, want %s", got, want)
	}
	other := uuid.MustParse("550e8400-e29b-41d4-a716-446655440001")
	if ImportedKeyID(other, "sk_live_4242") == want {
		t.Error("two networks give one string the same key id")
	}
}

func TestNewFormat_RefusesPrefixesThatDoNotTellCredentialsApart(t *testing.T) {
	t.Parallel()
	keyring, err := NewKeyring(secretA)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]Prefixes{
		"seventeen characters":          {Secret: strings.Repeat("a", 17)},
		"a space":                       {Secret: "a b"},
		"a leading underscore":          {Secret: "_a"},
		"one for secret and public":     {Secret: "a", Public: "a"},
		"one for secret and macaroon":   {Secret: "mc"},
		"retired and current":           {Secret: "a", RetiredSecret: []string{"a"}},
		"retired public but no current": {RetiredPublic: []string{"p"}},
	} {
		if _, err := NewFormat(network, keyring, p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMint_NeedsASecretAndForPublicKeysAPrefix(t *testing.T) {
	t.Parallel()
	if _, err := newFormat(t, Prefixes{}, secretA).Mint(keyID, created, true); err == nil {
		t.Error("a public key was minted without a prefix for public keys")
	}
	f, err := NewFormat(network, nil, Prefixes{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Mint(keyID, created, false); err == nil {
		t.Error("a key was minted without a secret")
	}
	p := f.Parse(mint(t, newFormat(t, Prefixes{}, secretA), false))
	if p.Kind != Issued || p.KeyID != keyID.String() || p.Genuine {
		t.Errorf("without a secret a key parsed as %+v; want its id, and not genuine", p)
	}
}

func TestNewKeyring_RefusesShortAndRepeatedSecrets(t *testing.T) {
	t.Parallel()
	for name, secrets := range map[string][]string{
		"short":         {"too short"},
		"short retired": {secretA, "too short"},
		"repeated":      {secretA, secretA},
		"empty":         {""},
	} {
		_, err := NewKeyring(secrets[0], secrets[1:]...)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, s := range secrets {
			if s != "" && strings.Contains(err.Error(), s) {
				t.Errorf("%s: the error prints the secret: %v", name, err)
			}
		}
	}
}

func TestKeyring_CheckValuesTellSecretsApart(t *testing.T) {
	t.Parallel()
	two, err := NewKeyring(secretA, secretB)
	if err != nil {
		t.Fatal(err)
	}
	one, err := NewKeyring(secretB)
	if err != nil {
		t.Fatal(err)
	}
	checks := two.Checks()
	if len(checks) != 2 || checks[0] == checks[1] || checks[1] != one.Checks()[0] {
		t.Errorf("check values %v and %v", checks, one.Checks())
	}
}

func TestCheck_TakesTextUpTo16KiB(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		s    string
		want error
	}{
		"a key":         {"ory_ak_v1_x_y", nil},
		"UTF-8":         {"schlüssel", nil},
		"16 KiB":        {strings.Repeat("a", MaxLength), nil},
		"empty":         {"", ErrEmpty},
		"over 16 KiB":   {strings.Repeat("a", MaxLength+1), ErrTooLong},
		"NUL":           {"a\x00b", ErrEncoding},
		"invalid UTF-8": {"a\xffb", ErrEncoding},
	} {
		if got := Check(tc.s); got != tc.want { //nolint:errorlint // these are returned as they are
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// FuzzParse looks for a credential that is genuine and was not minted, and for two spellings of one key.
func FuzzParse(f *testing.F) {
	format := newFormat(f, Prefixes{Secret: "ak", Public: "pk", RetiredSecret: []string{"a_v1_b"}}, secretA, secretB)
	good := mint(f, format, false)
	for _, s := range []string{
		good, mint(f, format, true), flipLast(good), good + "_", good + "1", "1" + good, strings.ToUpper(good),
		"ak_v1__", "ak_v1_1_1",
		"mc_v1_AgEJ", "eyJhbGciOiJub25lIn0.e30.x", "a.b.c", "", "\x00", "\xff", strings.Repeat("1", 200),
		keyID.String(),
		forge("a_v1_b", base58.Encode([]byte("1:"+keyID.String())), secretB),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := format.Parse(s)
		switch p.Kind {
		case JWT, Macaroon:
			if p.KeyID != "" || p.Genuine {
				t.Fatalf("%q: a token with a key id or checksum: %+v", s, p)
			}
		case Imported:
			if p.KeyID != ImportedKeyID(network, s) || p.Genuine || p.Public {
				t.Fatalf("%q: %+v", s, p)
			}
		case Issued:
			if id, err := uuid.Parse(p.KeyID); err != nil || id.String() != p.KeyID {
				t.Fatalf("%q: key id %q is not canonical", s, p.KeyID)
			}
			if p.Genuine && Check(s) != nil {
				t.Fatalf("%q is genuine and is no credential", s)
			}
			if p.Genuine && format.Parse(flipLast(s)).Genuine {
				t.Fatalf("%q has two right checksums", s)
			}
		default:
			t.Fatalf("%q: no kind", s)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	f := newFormat(b, Prefixes{}, secretA)
	good := mint(b, f, false)
	b.ReportAllocs()
	for b.Loop() {
		if !f.Parse(good).Genuine {
			b.Fatal("not genuine")
		}
	}
}
