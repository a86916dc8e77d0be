package caddymodule

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/verify"
	"github.com/talos-edge/talos-edge/storage"
)

// settings are what a configuration comes down to: everything that makes a node the node it is.
type settings struct {
	dsn        string   // canonical
	storage    string   // the same as it was given: a link on the way may later lead elsewhere, which the store notices
	issuers    []string // the current one first
	secrets    []string // the current one first; none: to be generated
	signing    signingKeys
	prefixes   credential.Prefixes
	defaultTTL time.Duration
	maxTTL     time.Duration
	clockSkew  time.Duration // as [core.EngineConfig] has it
	keyQuota   int64
	cache      verify.Config
	rateLimit  string

	upstream *Upstream // nil: the node has a storage, and all of the above; else prefixes, cache and rateLimit only

	keyring *credential.Keyring
	key     string // names the node in the pool; tells nothing about the secrets
}

// expand replaces the placeholders of the configuration. One that is unknown or empty is an error, above all because an
// empty secret would otherwise be taken for one that is not given.
func (a *App) expand() error {
	repl := caddy.NewReplacer()
	var errs []error
	text := func(option string, fields ...*string) {
		for _, field := range fields {
			expanded, err := repl.ReplaceOrErr(*field, true, true)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", option, err))
			}
			*field = expanded
		}
	}
	list := func(option string, fields []string) {
		for i := range fields {
			text(option, &fields[i])
			if fields[i] == "" {
				errs = append(errs, fmt.Errorf("%s: a retired value is empty", option))
			}
		}
	}
	if a.Upstream != nil {
		a.Upstream.texts(func(option string, field *string) { text(option, field) })
	}
	text("issuer", &a.Issuer)
	text("storage", &a.Storage)
	text("hmac_secret", &a.HMACSecret)
	text("key_prefix", &a.KeyPrefix)
	text("signing_keys", &a.SigningKeys, &a.ActiveKid)
	text("public_prefix", &a.PublicPrefix)
	text("macaroon_prefix", &a.MacaroonPrefix)
	text("rate_limit", &a.RateLimit)
	list("issuer", a.RetiredIssuers)
	list("hmac_secret", a.RetiredHMACSecrets)
	list("key_prefix", a.RetiredKeyPrefixes)
	list("public_prefix", a.RetiredPublicPrefixes)
	list("macaroon_prefix", a.RetiredMacaroonPrefixes)
	return errors.Join(errs...)
}

// resolve checks the configuration and returns what it comes down to. It reads nothing but paths.
func (a *App) resolve() (settings, error) {
	if a.Upstream != nil {
		return a.resolveSidecar()
	}
	s := settings{
		prefixes:   a.prefixes(),
		defaultTTL: time.Duration(a.DefaultTTL),
		maxTTL:     time.Duration(a.MaxTTL),
		clockSkew:  orOff(a.ClockSkew),
		keyQuota:   a.KeyQuota,
		signing:    signingKeys{source: a.SigningKeys, active: a.ActiveKid},
	}
	var err error
	if s.issuers, err = a.issuers(); err != nil {
		return s, fmt.Errorf("issuer: %w", err)
	}
	if s.rateLimit, err = rateLimitMode(a.RateLimit); err != nil {
		return s, fmt.Errorf("rate_limit: %w", err)
	}
	if s.clockSkew > maxClockSkew {
		return s, fmt.Errorf("clock_skew: want at most %s", core.FormatSeconds(maxClockSkew))
	}
	if err := s.signing.check(); err != nil {
		return s, err
	}
	dsn := a.Storage
	if dsn == "" {
		dsn = "sqlite://" + filepath.ToSlash(filepath.Join(caddy.AppDataDir(), "talos.db"))
	}
	s.storage = dsn
	if s.dsn, err = storage.Canonical(dsn); err != nil {
		return s, err
	}
	switch {
	case a.HMACSecret != "":
		s.secrets = append([]string{a.HMACSecret}, a.RetiredHMACSecrets...)
	case len(a.RetiredHMACSecrets) > 0:
		return s, errors.New("hmac_secret: retired secrets without a current one")
	}
	if s.cache, err = a.Cache.resolve(); err != nil {
		return s, fmt.Errorf("cache: %w", err)
	}
	if err := s.check(); err != nil {
		return s, err
	}
	return s, nil
}

func (a *App) prefixes() credential.Prefixes {
	return credential.Prefixes{
		Secret: a.KeyPrefix, RetiredSecret: a.RetiredKeyPrefixes,
		Public: a.PublicPrefix, RetiredPublic: a.RetiredPublicPrefixes,
		Macaroon: a.MacaroonPrefix, RetiredMacaroon: a.RetiredMacaroonPrefixes,
	}
}

// issuers are the configured issuers, the current one first.
func (a *App) issuers() ([]string, error) {
	current := a.Issuer
	if current == "" {
		current = core.DefaultIssuer
	}
	list := append([]string{current}, a.RetiredIssuers...)
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

// maxClockSkew bounds the leeway for tokens: clocks that differ by more are not skewed but wrong.
const maxClockSkew = time.Hour

// check tries the settings on an engine without a store, with a throwaway secret in place of one that is not there yet.
func (s *settings) check() error {
	secrets := s.secrets
	if len(secrets) == 0 {
		secrets = []string{rand.Text() + rand.Text()}
	}
	keyring, err := credential.NewKeyring(secrets[0], secrets[1:]...)
	if err != nil {
		return fmt.Errorf("hmac_secret: %w", err)
	}
	_, err = core.NewEngine(s.engine(keyring), nil)
	return err
}

func (s *settings) engine(keyring *credential.Keyring) core.EngineConfig {
	return core.EngineConfig{
		Issuer:         s.issuers[0],
		RetiredIssuers: s.issuers[1:],
		Keyring:        keyring,
		SigningKeys:    s.signing.parsed,
		Prefixes:       s.prefixes,
		DefaultTTL:     s.defaultTTL,
		MaxTTL:         s.maxTTL,
		ClockSkew:      s.clockSkew,
		KeyQuota:       s.keyQuota,
	}
}

// seal makes the keyring, the signing keys and the pool key, once the secrets are there. It reads the file with signing
// keys; a reload after they have changed makes another node. The pool key is a salted hash over all settings; the HMAC
// secrets take part by their check values.
func (s *settings) seal() error {
	if s.upstream != nil {
		return s.sealSidecar()
	}
	keyring, err := credential.NewKeyring(s.secrets[0], s.secrets[1:]...)
	if err != nil {
		return fmt.Errorf("hmac_secret: %w", err)
	}
	s.keyring = keyring
	if err := s.signing.read(); err != nil {
		return err
	}
	s.key = s.hash(s.issuers, keyring.Checks(), []string{
		s.dsn, string(s.signing.set), s.signing.active, s.defaultTTL.String(), s.maxTTL.String(),
		s.clockSkew.String(), strconv.FormatInt(s.keyQuota, 10),
	})
	return nil
}

// poolSalt keeps pool keys from telling anything about the secrets among the settings.
var poolSalt = rand.Text()

// hash makes a pool key of the settings that every node has, and of its own.
func (s *settings) hash(own ...[]string) string {
	h := sha256.New()
	p := &s.prefixes
	common := []string{poolSalt, p.Secret, p.Public, p.Macaroon, s.rateLimit, fmt.Sprintf("%+v", s.cache)}
	for _, fields := range append([][]string{common, p.RetiredSecret, p.RetiredPublic, p.RetiredMacaroon}, own...) {
		_ = binary.Write(h, binary.BigEndian, uint64(len(fields)))
		for _, f := range fields {
			_ = binary.Write(h, binary.BigEndian, uint64(len(f)))
			_, _ = h.Write([]byte(f))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// checkIssuer says whether s can be an issuer: an absolute URI without a fragment (RFC 8414 asks for more, but the
// tokens' `iss` is any URI).
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() || u.Fragment != "" || strings.ContainsAny(s, " \t\r\n#") {
		return fmt.Errorf("%q is not an absolute URI such as https://api.example.com", s)
	}
	return nil
}

// resolve checks the cache's configuration, of which nil is the default.
func (c *Cache) resolve() (verify.Config, error) {
	switch {
	case c == nil:
		return verify.Config{}, nil
	case c.Off && *c != (Cache{Off: true}):
		return verify.Config{}, errors.New("off stands alone: without a cache nothing else has a meaning")
	}
	cfg := verify.Config{
		Off:          c.Off,
		TTL:          time.Duration(c.TTL),
		TTLConnected: time.Duration(c.TTLConnected),
		NegativeTTL:  orOff(c.NegativeTTL),
		StaleIfError: orOff(c.StaleIfError),
		MaxBytes:     c.MaxSize,
	}
	return cfg, cfg.Validate()
}

// orOff tells verify what an optional duration means, of which nil is the default and 0 is off.
func orOff(d *Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case *d == 0:
		return -1
	default:
		return time.Duration(*d)
	}
}
