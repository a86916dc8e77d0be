package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/outage"
	"github.com/talos-edge/talos-edge/adminapi/webhook"
	"github.com/talos-edge/talos-edge/caddymodule/internal/logging"
	"github.com/talos-edge/talos-edge/caddymodule/internal/secrets"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/confirm"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/usage"
	"github.com/talos-edge/talos-edge/core/verify"
	"github.com/talos-edge/talos-edge/storage"
)

// Embedded is a node with keys of its own.
type Embedded struct {
	base
	Engine *engine.Engine
	Store  core.Store // may be shared with other nodes
	dsn    string     // names Store in its pool
	watch  *databaseWatch
	pruner *pruner
	hooks  []*webhook.Sender

	confirmations *confirm.Confirmations   // of Store
	emitting      *atomic.Pointer[emitter] // of Store
}

// embeddedSettings are what only an embedded node has.
type embeddedSettings struct {
	dsn        string   // canonical
	storage    string   // the same as it was given: a link on the way may later lead elsewhere, which the store notices
	issuers    []string // the current one first
	secrets    []string // the current one first; none: to be generated
	origin     string   // where the current secret is from, for errors
	signing    secrets.SigningKeys
	defaultTTL time.Duration
	maxTTL     time.Duration
	clockSkew  time.Duration // as [engine.Config] has it
	keyQuota   int64
	retention  retention
	webhooks   []Webhook
	keyring    *credential.Keyring
}

// resolveEmbedded is resolve for a node with keys of its own.
func (a *App) resolveEmbedded() (s settings, err error) {
	e := &embeddedSettings{
		defaultTTL: time.Duration(a.DefaultTTL),
		maxTTL:     time.Duration(a.MaxTTL),
		clockSkew:  orOff(a.ClockSkew),
		keyQuota:   a.KeyQuota,
		webhooks:   a.Webhooks,
		signing:    secrets.SigningKeys{Source: a.SigningKeys, Active: a.ActiveKid},
	}
	s = settings{prefixes: a.prefixes(), kind: e}
	if a.EdgeID != "" {
		return s, errors.New("edge_id: has a meaning beside upstream only: it is the name of a sidecar")
	}
	if e.issuers, err = a.issuers(); err != nil {
		return s, fmt.Errorf("issuer: %w", err)
	}
	if err := a.resolveCommon(&s); err != nil {
		return s, err
	}
	if e.retention, err = a.Events.resolve(); err != nil {
		return s, fmt.Errorf("events: %w", err)
	}
	if err := checkWebhooks(e.webhooks); err != nil {
		return s, err
	}
	if e.clockSkew > maxClockSkew {
		return s, fmt.Errorf("clock_skew: must be at most %s", core.FormatSeconds(maxClockSkew))
	}
	if err := e.signing.Check(); err != nil {
		return s, err
	}
	e.storage = a.Storage
	if e.storage == "" {
		e.storage = "sqlite://" + filepath.ToSlash(filepath.Join(caddy.AppDataDir(), "talos.db"))
	}
	if e.dsn, err = storage.Canonical(e.storage); err != nil {
		return s, err
	}
	if storage.Shared(e.storage) && (a.HMACSecret == "" || a.SigningKeys == "") {
		return s, errShared
	}
	switch {
	case a.HMACSecret != "":
		e.secrets = append([]string{a.HMACSecret}, a.RetiredHMACSecrets...)
	case len(a.RetiredHMACSecrets) > 0:
		return s, errors.New("hmac_secret: retired secrets without a current one")
	}
	return s, e.check(s.prefixes)
}

// errShared is the error of a database that several nodes can use, without the secrets that they have to share.
var errShared = errors.New("storage: several nodes can use this database, and generated secrets would be those of " +
	"one: give every node the same hmac_secret and the same signing_keys (TALOS_SECRETS_HMAC_CURRENT and " +
	"TALOS_SIGNING_KEYS for `talos serve`); make them with `openssl rand -hex 32` and " +
	"`talos jwk generate eddsa --jwks -o FILE`")

// issuers are the configured issuers, the current one first.
func (a *App) issuers() ([]string, error) {
	current := a.Issuer
	if current == "" {
		current = engine.DefaultIssuer
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
	hmac := e.secrets
	if len(hmac) == 0 {
		hmac = []string{rand.Text() + rand.Text()}
	}
	keyring, err := credential.NewKeyring(hmac[0], hmac[1:]...)
	if err != nil {
		return fmt.Errorf("hmac_secret: %w", err)
	}
	_, err = engine.New(e.engine(prefixes, keyring), nil)
	return err
}

func (e *embeddedSettings) engine(prefixes credential.Prefixes, keyring *credential.Keyring) engine.Config {
	return engine.Config{
		Issuer:         e.issuers[0],
		RetiredIssuers: e.issuers[1:],
		Keyring:        keyring,
		SigningKeys:    e.signing.Parsed,
		Prefixes:       prefixes,
		DefaultTTL:     e.defaultTTL,
		MaxTTL:         e.maxTTL,
		ClockSkew:      e.clockSkew,
		KeyQuota:       e.keyQuota,
	}
}

// seal makes the keyring and the signing keys. The pool key is a salted hash over all settings; the HMAC secrets take
// part by their check values. A secret that is not the database's is refused before anything is generated or migrated.
func (e *embeddedSettings) seal(ctx context.Context, a *App, s *settings) error {
	check, err := storage.ReadSecretCheck(ctx, e.storage, core.NetworkID{}, storeOptions())
	if err != nil {
		return fmt.Errorf("opening the storage: %w", err)
	}
	e.origin = a.secretOrigin
	if len(e.secrets) == 0 {
		e.origin = secrets.HMACPlace(a.storage)
		secret, err := secrets.HMAC(ctx, a.storage, check == "", a.logger)
		switch {
		case check != "" && errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("the keys in %s were made with an HMAC secret, and %s does not exist; none was "+
				"generated, because no key would verify with it: bring the secret back to that place, or give it as "+
				"hmac_secret (TALOS_SECRETS_HMAC_CURRENT for `talos serve`), or begin with another database",
				storage.Display(e.dsn), e.origin)
		case err != nil:
			return err
		}
		e.secrets = []string{secret}
	}
	keyring, err := credential.NewKeyring(e.secrets[0], e.secrets[1:]...)
	if err != nil {
		return fmt.Errorf("hmac_secret: %w", err)
	}
	e.keyring = keyring
	if check != "" && !slices.Contains(keyring.Checks(), check) {
		return e.errSecret()
	}
	if err := e.signing.Read(ctx, a.storage, a.logger); err != nil {
		return err
	}
	s.key = s.hash(e.issuers, keyring.Checks(), []string{
		e.dsn, string(e.signing.Set), e.signing.Active, e.defaultTTL.String(), e.maxTTL.String(),
		e.clockSkew.String(), strconv.FormatInt(e.keyQuota, 10), fmt.Sprint(e.retention),
	}, webhookFields(e.webhooks))
	return nil
}

// errSecret is the error of secrets that are not the database's.
func (e *embeddedSettings) errSecret() error {
	return fmt.Errorf("the HMAC secrets are not those that the keys in %s were made with; the current one is from %s: "+
		"bring the earlier one back, there or as a retired one (`hmac_secret <current> <earlier>`, "+
		"TALOS_SECRETS_HMAC_RETIRED for `talos serve`), or begin with another database",
		storage.Display(e.dsn), e.origin)
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

// open opens the store, or joins the nodes that have it open, and makes an engine over it. Secrets that are not those
// of the stored keys are an error.
func (e *embeddedSettings) open(ctx context.Context, s *settings, limiter ratelimit.Limiter) (_ Node, err error) {
	store, err := acquireStore(ctx, e.dsn, e.storage)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, releaseStore(e.dsn))
		}
	}()
	keys, err := engine.New(e.engine(s.prefixes, e.keyring), store)
	if err != nil {
		return nil, err
	}
	if err := keys.Claim(ctx); err != nil {
		if core.ReasonOf(err) == core.FailedPrecondition {
			return nil, errors.Join(e.errSecret(), err) // another process has used the database since seal
		}
		return nil, fmt.Errorf("comparing the HMAC secrets with the storage: %w", err)
	}
	unknown, err := keys.UnknownPrefixes(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the prefixes of the stored keys: %w", err)
	}
	e.warnOfPrefixes(&s.prefixes, unknown)
	n := &Embedded{
		Engine: keys, Store: store, dsn: e.dsn, confirmations: store.Confirmations, emitting: &store.emitting,
	}
	n.watch = newDatabaseWatch(logging.Current("talos.storage"), &s.cache,
		func() outage.Counts { return countsOf(n.verifier) })
	cache := s.cache
	cache.Observer = n.watch
	uses := new(usage.Recorder)
	cache.Used = uses.Record
	verifier, err := verify.New(cache, keys)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if n.hooks, err = openWebhooks(ctx, e.webhooks, store); err != nil {
		verifier.Close()
		n.watch.close()
		return nil, err
	}
	n.base = base{
		verifier: verifier, limiter: limiter, outage: n.watch.active,
		uses: newUseWriter(ctx, uses, store.RecordUse, logging.Current("talos.storage")),
	}
	n.pruner = newPruner(ctx, e.retention, store, logging.Current("talos.storage"))
	return n, nil
}

// warnOfPrefixes logs that the database has keys whose prefixes are not configured, and how to keep them.
func (e *embeddedSettings) warnOfPrefixes(p *credential.Prefixes, unknown []core.PrefixCount) {
	if len(unknown) == 0 {
		return
	}
	keys := make(map[string]int64, len(unknown))
	retired := slices.Clone(p.RetiredSecret)
	for _, c := range unknown {
		keys[c.Prefix] = c.Keys
		retired = append(retired, c.Prefix)
	}
	logging.Current("talos").Warn("keys in the database have prefixes that are not configured, and are refused: name "+
		"the prefixes as retired ones to accept the keys, or revoke them",
		zap.String("database", storage.Display(e.dsn)), zap.Any("keys_by_prefix", keys),
		zap.String("caddyfile", "key_prefix "+p.SecretOrDefault()+" "+strings.Join(retired, " ")),
		zap.String("environment_of_serve", "TALOS_CREDENTIALS_API_KEYS_PREFIX_RETIRED="+strings.Join(retired, ",")))
}

// describe names the database.
func (e *embeddedSettings) describe() []zap.Field {
	return []zap.Field{zap.String("mode", "embedded"), zap.String("database", storage.Display(e.dsn))}
}

// Verify asks the verifier.
func (n *Embedded) Verify(r *http.Request, credential string) (verify.Result, error) {
	return n.verify(r, credential)
}

// Admin serves the whole API.
func (n *Embedded) Admin(o adminapi.Options) http.Handler { return adminapi.Admin(n.options(o)) }

// Public serves self-revocation and the key set.
func (n *Embedded) Public(o adminapi.PublicOptions) *adminapi.Public {
	o.Options = n.options(o.Options)
	return adminapi.NewPublic(o)
}

func (n *Embedded) options(o adminapi.Options) adminapi.Options {
	o = n.base.options(o, adminapi.Network{
		Keys: n.Engine, Confirmations: n.confirmations, AwaitPosition: n.Engine.AwaitPosition,
	})
	o.Ready = n.Engine.Ready
	return o
}

func (n *Embedded) collect(ch chan<- prometheus.Metric) {
	positions := n.Store.Positions()
	gauge(ch, feedPositionDesc, float64(positions.Applied()))
	if at := positions.CompleteAt(); at != 0 {
		gauge(ch, feedLagDesc, max(0, time.Since(time.Unix(0, at)).Seconds()))
	}
	gauge(ch, edgesDesc, float64(n.confirmations.Live()))
	edgeConfirmSeconds.Collect(ch)
	collectWebhooks(ch, n.hooks)
}

func (n *Embedded) close() error {
	closeWebhooks(n.hooks)
	n.uses.close()
	n.pruner.close()
	n.watch.close()
	return releaseStore(n.dsn)
}

// Interface guard.
var _ Node = (*Embedded)(nil)
