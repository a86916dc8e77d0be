package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

// KeyOptions are the settings of a network's keys and of the tokens that are derived from them.
type KeyOptions struct {
	// Issuer is the URI that verification results and derived tokens name as the issuer. Default: `http://localhost`.
	Issuer string `json:"issuer,omitempty"`

	// RetiredIssuers are issuers whose derived tokens still verify.
	RetiredIssuers []string `json:"retired_issuers,omitempty"`

	// HMACSecret is the secret, of at least 32 bytes, that makes the checksums of issued keys. Default: generated at
	// the first start and stored in Caddy's storage as `talos/hmac_secret`, or as `talos/networks/<id>/hmac_secret`.
	HMACSecret string `json:"hmac_secret,omitempty"`

	// RetiredHMACSecrets still verify the keys that were made with them.
	RetiredHMACSecrets []string `json:"retired_hmac_secrets,omitempty"`

	// SigningKeys are the keys of derived JWTs: a file with a JWK Set, or `base64://` and the set itself. Ed25519 keys
	// sign with EdDSA, RSA keys of at least 2048 bits with RS256. Keys that do not sign are retired ones, whose tokens
	// still verify. The file is read when the configuration is loaded. Default: one Ed25519 key, generated at the first
	// start and stored in Caddy's storage as `talos/signing_keys`, or as `talos/networks/<id>/signing_keys`.
	SigningKeys string `json:"signing_keys,omitempty"`

	// ActiveKid is the `kid` of the key that signs. Default: the first one with a private part.
	ActiveKid string `json:"active_kid,omitempty"`

	// KeyPrefix begins every issued key: 1 to 16 letters, digits, `_` and `-`. Default: `ory_ak`.
	KeyPrefix string `json:"key_prefix,omitempty"`

	// RetiredKeyPrefixes still verify.
	RetiredKeyPrefixes []string `json:"retired_key_prefixes,omitempty"`

	// PublicPrefix begins issued keys of public visibility. Default: none, and none can be issued.
	PublicPrefix string `json:"public_prefix,omitempty"`

	// RetiredPublicPrefixes still verify.
	RetiredPublicPrefixes []string `json:"retired_public_prefixes,omitempty"`

	// MacaroonPrefix begins derived macaroons. Default: `mc`.
	MacaroonPrefix string `json:"macaroon_prefix,omitempty"`

	// RetiredMacaroonPrefixes still verify.
	RetiredMacaroonPrefixes []string `json:"retired_macaroon_prefixes,omitempty"`

	// DefaultTTL is the lifetime of a key that is issued without one. Default: 0, such a key does not expire.
	DefaultTTL *Duration `json:"default_ttl,omitempty"`

	// MaxTTL is the longest lifetime that may be requested, at most 10 years. Default: `8760h`.
	MaxTTL Duration `json:"max_ttl,omitempty"`

	// KeyQuota is how many keys may be active at once, issued and imported ones together. Default: 0, no limit.
	KeyQuota *int64 `json:"key_quota,omitempty"`

	secretOrigin string // where HMACSecret is from, for errors
}

// over are the options with those of defaults in place of what is not given. The retired values of defaults count only
// beside their current one.
func (o *KeyOptions) over(defaults *KeyOptions) KeyOptions {
	own := *o
	if own.HMACSecret == "" {
		own.secretOrigin = defaults.secretOrigin
	}
	inherit(&own.Issuer, defaults.Issuer, &own.RetiredIssuers, defaults.RetiredIssuers)
	inherit(&own.HMACSecret, defaults.HMACSecret, &own.RetiredHMACSecrets, defaults.RetiredHMACSecrets)
	inherit(&own.KeyPrefix, defaults.KeyPrefix, &own.RetiredKeyPrefixes, defaults.RetiredKeyPrefixes)
	inherit(&own.PublicPrefix, defaults.PublicPrefix, &own.RetiredPublicPrefixes, defaults.RetiredPublicPrefixes)
	inherit(&own.MacaroonPrefix, defaults.MacaroonPrefix,
		&own.RetiredMacaroonPrefixes, defaults.RetiredMacaroonPrefixes)
	if own.SigningKeys == "" {
		own.SigningKeys, own.ActiveKid = defaults.SigningKeys, cmp.Or(own.ActiveKid, defaults.ActiveKid)
	}
	own.MaxTTL = cmp.Or(own.MaxTTL, defaults.MaxTTL)
	if own.DefaultTTL == nil {
		own.DefaultTTL = defaults.DefaultTTL
	}
	if own.KeyQuota == nil {
		own.KeyQuota = defaults.KeyQuota
	}
	return own
}

// inherit takes a default value over where no value is given, and its retired ones where none are.
func inherit(current *string, defaultCurrent string, retired *[]string, defaultRetired []string) {
	if *current != "" {
		return
	}
	*current = defaultCurrent
	if *retired == nil {
		*retired = defaultRetired
	}
}

// expand replaces the placeholders of the options.
func (o *KeyOptions) expand(e *expander) {
	o.secretOrigin = secretOriginOf(o.HMACSecret)
	e.text("issuer", &o.Issuer)
	e.text("hmac_secret", &o.HMACSecret)
	e.text("key_prefix", &o.KeyPrefix)
	e.text("signing_keys", &o.SigningKeys, &o.ActiveKid)
	e.text("public_prefix", &o.PublicPrefix)
	e.text("macaroon_prefix", &o.MacaroonPrefix)
	e.retired("issuer", o.RetiredIssuers)
	e.retired("hmac_secret", o.RetiredHMACSecrets)
	e.retired("key_prefix", o.RetiredKeyPrefixes)
	e.retired("public_prefix", o.RetiredPublicPrefixes)
	e.retired("macaroon_prefix", o.RetiredMacaroonPrefixes)
}

// literal are the options without every value that holds a placeholder.
func (o *KeyOptions) literal() KeyOptions {
	l := KeyOptions{
		Issuer: directive.Literal(o.Issuer), RetiredIssuers: directive.Literals(o.RetiredIssuers),
		HMACSecret: directive.Literal(o.HMACSecret), RetiredHMACSecrets: directive.Literals(o.RetiredHMACSecrets),
		KeyPrefix: directive.Literal(o.KeyPrefix), RetiredKeyPrefixes: directive.Literals(o.RetiredKeyPrefixes),
		PublicPrefix:            directive.Literal(o.PublicPrefix),
		RetiredPublicPrefixes:   directive.Literals(o.RetiredPublicPrefixes),
		MacaroonPrefix:          directive.Literal(o.MacaroonPrefix),
		RetiredMacaroonPrefixes: directive.Literals(o.RetiredMacaroonPrefixes),
		SigningKeys:             directive.Literal(o.SigningKeys), ActiveKid: directive.Literal(o.ActiveKid),
		DefaultTTL: o.DefaultTTL, MaxTTL: o.MaxTTL, KeyQuota: o.KeyQuota,
	}
	if l.SigningKeys == "" || l.ActiveKid != o.ActiveKid {
		l.SigningKeys, l.ActiveKid = "", "" // neither means anything without the other
	}
	if l.HMACSecret == "" {
		l.RetiredHMACSecrets = nil
	}
	if l.PublicPrefix == "" {
		l.RetiredPublicPrefixes = nil
	}
	return l
}

// assume puts values in place of those that literal has left out or that may follow: ones that clash with nothing, as
// the defaults might. complete says that nothing follows.
func (o *KeyOptions) assume(given *KeyOptions, complete bool) {
	if o.KeyPrefix == "" && (!complete || given.KeyPrefix != "") {
		o.KeyPrefix = "unchecked-key"
	}
	if o.MacaroonPrefix == "" && (!complete || given.MacaroonPrefix != "") {
		o.MacaroonPrefix = "unchecked-mac"
	}
	if o.MaxTTL == 0 && !complete {
		o.MaxTTL = Duration(core.MaxTTL) // a lower one may follow
	}
}

// unmarshalOption reads an option that is a value or a list of them.
func (o *KeyOptions) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "issuer":
		return directive.CurrentAndRetired(d, &o.Issuer, &o.RetiredIssuers)
	case "hmac_secret":
		return directive.CurrentAndRetired(d, &o.HMACSecret, &o.RetiredHMACSecrets)
	case "signing_keys":
		var kid []string
		if err := directive.CurrentAndRetired(d, &o.SigningKeys, &kid); err != nil {
			return err
		}
		if len(kid) > 1 {
			return d.Err("signing_keys: the keys and at most one kid are required")
		}
		o.ActiveKid = strings.Join(kid, "")
		return nil
	case "key_prefix":
		return directive.CurrentAndRetired(d, &o.KeyPrefix, &o.RetiredKeyPrefixes)
	case "public_prefix":
		return directive.CurrentAndRetired(d, &o.PublicPrefix, &o.RetiredPublicPrefixes)
	case "macaroon_prefix":
		return directive.CurrentAndRetired(d, &o.MacaroonPrefix, &o.RetiredMacaroonPrefixes)
	case "default_ttl":
		o.DefaultTTL = new(Duration)
		return directive.Duration(d, o.DefaultTTL)
	case "max_ttl":
		if err := directive.Duration(d, &o.MaxTTL); err != nil {
			return err
		}
		if o.MaxTTL == 0 {
			return d.Err("max_ttl: must not be 0")
		}
		return nil
	case "key_quota":
		o.KeyQuota = new(int64)
		return directive.Number(d, o.KeyQuota)
	default:
		return directive.Unknown(d)
	}
}

func (o *KeyOptions) prefixes() credential.Prefixes {
	return credential.Prefixes{
		Secret: o.KeyPrefix, RetiredSecret: o.RetiredKeyPrefixes,
		Public: o.PublicPrefix, RetiredPublic: o.RetiredPublicPrefixes,
		Macaroon: o.MacaroonPrefix, RetiredMacaroon: o.RetiredMacaroonPrefixes,
	}
}

// issuers are the issuers, the current one first.
func (o *KeyOptions) issuers() ([]string, error) {
	current := o.Issuer
	if current == "" {
		current = engine.DefaultIssuer
	}
	list := append([]string{current}, o.RetiredIssuers...)
	for i, issuer := range list {
		if err := checkIssuer(issuer); err != nil {
			return nil, err
		}
		if slices.Contains(list[:i], issuer) {
			return nil, fmt.Errorf("%q is given twice", issuer)
		}
	}
	return list, nil
}

// givenOption is the name of an option, and whether it is given.
type givenOption struct {
	name  string
	given bool
}

// ofEmbedded are the options that only a node with keys of its own can have.
func (o *KeyOptions) ofEmbedded() []givenOption {
	return []givenOption{
		{"issuer", o.Issuer != "" || len(o.RetiredIssuers) > 0},
		{"hmac_secret", o.HMACSecret != "" || len(o.RetiredHMACSecrets) > 0},
		{"signing_keys", o.SigningKeys != "" || o.ActiveKid != ""},
		{"default_ttl", o.DefaultTTL != nil},
		{"max_ttl", o.MaxTTL != 0},
		{"key_quota", o.KeyQuota != nil},
	}
}

// orZero is the value of an option that may be left out.
func orZero[T any](value *T) (zero T) {
	if value == nil {
		return zero
	}
	return *value
}
