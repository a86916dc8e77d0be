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
	dsn        string // canonical
	issuer     string
	secrets    []string // the current one first; none: to be generated
	prefixes   credential.Prefixes
	defaultTTL time.Duration
	maxTTL     time.Duration
	cache      verify.Config

	upstream *Upstream // nil: the node has a storage, and everything above; else it has prefixes and cache only

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
	text("public_prefix", &a.PublicPrefix)
	list("hmac_secret", a.RetiredHMACSecrets)
	list("key_prefix", a.RetiredKeyPrefixes)
	list("public_prefix", a.RetiredPublicPrefixes)
	return errors.Join(errs...)
}

// resolve checks the configuration and returns what it comes down to. It reads nothing but paths.
func (a *App) resolve() (settings, error) {
	if a.Upstream != nil {
		return a.resolveSidecar()
	}
	s := settings{
		issuer:     a.Issuer,
		prefixes:   a.prefixes(),
		defaultTTL: time.Duration(a.DefaultTTL),
		maxTTL:     time.Duration(a.MaxTTL),
	}
	if s.issuer == "" {
		s.issuer = core.DefaultIssuer
	}
	if err := checkIssuer(s.issuer); err != nil {
		return s, fmt.Errorf("issuer: %w", err)
	}
	dsn := a.Storage
	if dsn == "" {
		dsn = "sqlite://" + filepath.ToSlash(filepath.Join(caddy.AppDataDir(), "talos.db"))
	}
	var err error
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
	}
}

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
		Issuer:     s.issuer,
		Keyring:    keyring,
		Prefixes:   s.prefixes,
		DefaultTTL: s.defaultTTL,
		MaxTTL:     s.maxTTL,
	}
}

// seal makes the keyring and the pool key, once the secrets are there. The key is a hash over all settings; secrets
// take part by their check values, so that nothing which was made from them alone stands in the pool.
func (s *settings) seal() error {
	if s.upstream != nil {
		return s.sealSidecar()
	}
	keyring, err := credential.NewKeyring(s.secrets[0], s.secrets[1:]...)
	if err != nil {
		return fmt.Errorf("hmac_secret: %w", err)
	}
	s.keyring = keyring
	s.key = s.hash([]string{s.dsn, s.issuer, s.defaultTTL.String(), s.maxTTL.String()}, keyring.Checks())
	return nil
}

// hash makes a pool key of the settings that every node has, and of its own.
func (s *settings) hash(own ...[]string) string {
	h := sha256.New()
	common := []string{s.prefixes.Secret, s.prefixes.Public, s.prefixes.Macaroon, fmt.Sprintf("%+v", s.cache)}
	for _, fields := range append([][]string{common, s.prefixes.RetiredSecret, s.prefixes.RetiredPublic}, own...) {
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
	if c == nil {
		return verify.Config{}, nil
	}
	if c.Off {
		if *c != (Cache{Off: true}) {
			return verify.Config{}, errors.New("off stands alone: without a cache nothing else has a meaning")
		}
		return verify.Config{Off: true}, nil
	}
	cfg := verify.Config{
		TTL:          time.Duration(c.TTL),
		TTLConnected: time.Duration(c.TTLConnected),
		NegativeTTL:  orOff(c.NegativeTTL),
		StaleIfError: orOff(c.StaleIfError),
		MaxBytes:     c.MaxSize,
	}
	return cfg, c.check()
}

// The least that a cache can be given.
const (
	minLife = Duration(time.Second)
	minSize = 4 << 20
)

// check finds what [verify.New] would refuse, before anything is opened.
func (c *Cache) check() error {
	short := func(d *Duration) bool { return d != nil && *d != 0 && *d < minLife }
	ttl := c.TTL
	if ttl == 0 {
		ttl = Duration(time.Minute)
	}
	switch {
	case short(&c.TTL):
		return errors.New("ttl is under 1s; `cache off` keeps nothing")
	case c.TTLConnected != 0 && c.TTLConnected < ttl:
		return errors.New("ttl_connected is under ttl")
	case short(c.NegativeTTL):
		return errors.New("negative_ttl is under 1s; 0 keeps nothing")
	case c.StaleIfError != nil && *c.StaleIfError < 0:
		return errors.New("stale_if_error is negative")
	case c.MaxSize != 0 && c.MaxSize < minSize:
		return errors.New("max_size is under 4MiB")
	}
	return nil
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
