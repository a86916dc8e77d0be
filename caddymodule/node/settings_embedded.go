package node

import (
	"context"
	"crypto/rand"
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
	"github.com/talos-edge/talos-edge/storage"
)

// embeddedSettings are what only an embedded node has.
type embeddedSettings struct {
	dsn        string   // canonical
	storage    string   // the same as it was given: a link on the way may later lead elsewhere, which the store notices
	issuers    []string // the current one first
	secrets    []string // the current one first; none: to be generated
	signing    signingKeys
	defaultTTL time.Duration
	maxTTL     time.Duration
	clockSkew  time.Duration // as [core.EngineConfig] has it
	keyQuota   int64
	keyring    *credential.Keyring
}

// resolveEmbedded is resolve for a node with keys of its own.
func (a *App) resolveEmbedded() (s settings, err error) {
	e := &embeddedSettings{
		defaultTTL: time.Duration(a.DefaultTTL),
		maxTTL:     time.Duration(a.MaxTTL),
		clockSkew:  orOff(a.ClockSkew),
		keyQuota:   a.KeyQuota,
		signing:    signingKeys{source: a.SigningKeys, active: a.ActiveKid},
	}
	s = settings{prefixes: a.prefixes(), kind: e}
	if e.issuers, err = a.issuers(); err != nil {
		return s, fmt.Errorf("issuer: %w", err)
	}
	if err := a.resolveCommon(&s); err != nil {
		return s, err
	}
	if e.clockSkew > maxClockSkew {
		return s, fmt.Errorf("clock_skew: want at most %s", core.FormatSeconds(maxClockSkew))
	}
	if err := e.signing.check(); err != nil {
		return s, err
	}
	e.storage = a.Storage
	if e.storage == "" {
		e.storage = "sqlite://" + filepath.ToSlash(filepath.Join(caddy.AppDataDir(), "talos.db"))
	}
	if e.dsn, err = storage.Canonical(e.storage); err != nil {
		return s, err
	}
	switch {
	case a.HMACSecret != "":
		e.secrets = append([]string{a.HMACSecret}, a.RetiredHMACSecrets...)
	case len(a.RetiredHMACSecrets) > 0:
		return s, errors.New("hmac_secret: retired secrets without a current one")
	}
	return s, e.check(s.prefixes)
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
func (e *embeddedSettings) check(prefixes credential.Prefixes) error {
	secrets := e.secrets
	if len(secrets) == 0 {
		secrets = []string{rand.Text() + rand.Text()}
	}
	keyring, err := credential.NewKeyring(secrets[0], secrets[1:]...)
	if err != nil {
		return fmt.Errorf("hmac_secret: %w", err)
	}
	_, err = core.NewEngine(e.engine(prefixes, keyring), nil)
	return err
}

func (e *embeddedSettings) engine(prefixes credential.Prefixes, keyring *credential.Keyring) core.EngineConfig {
	return core.EngineConfig{
		Issuer:         e.issuers[0],
		RetiredIssuers: e.issuers[1:],
		Keyring:        keyring,
		SigningKeys:    e.signing.parsed,
		Prefixes:       prefixes,
		DefaultTTL:     e.defaultTTL,
		MaxTTL:         e.maxTTL,
		ClockSkew:      e.clockSkew,
		KeyQuota:       e.keyQuota,
	}
}

// seal makes the keyring and the signing keys. The pool key is a salted hash over all settings; the HMAC secrets take
// part by their check values.
func (e *embeddedSettings) seal(ctx context.Context, a *App, s *settings) error {
	if err := e.generated(ctx, a); err != nil {
		return err
	}
	keyring, err := credential.NewKeyring(e.secrets[0], e.secrets[1:]...)
	if err != nil {
		return fmt.Errorf("hmac_secret: %w", err)
	}
	e.keyring = keyring
	if err := e.signing.read(); err != nil {
		return err
	}
	s.key = s.hash(e.issuers, keyring.Checks(), []string{
		e.dsn, string(e.signing.set), e.signing.active, e.defaultTTL.String(), e.maxTTL.String(),
		e.clockSkew.String(), strconv.FormatInt(e.keyQuota, 10),
	})
	return nil
}

// generated fills in the secrets that were not given with those that are generated once and stay in Caddy's storage.
func (e *embeddedSettings) generated(ctx context.Context, a *App) error {
	if len(e.secrets) == 0 {
		secret, err := hmacSecret().get(ctx, a.storage, a.logger)
		if err != nil {
			return core.WrapError(core.Unavailable, "the HMAC secret cannot be read", err)
		}
		e.secrets = []string{string(secret)}
	}
	if e.signing.source == "" && e.signing.set == nil {
		set, err := signingKeySet().get(ctx, a.storage, a.logger)
		if err != nil {
			return core.WrapError(core.Unavailable, "the signing keys cannot be read", err)
		}
		e.signing.set = set
	}
	return nil
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
