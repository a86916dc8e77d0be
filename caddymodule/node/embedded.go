package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/outage"
	"github.com/talos-edge/talos-edge/adminapi/webhook"
	"github.com/talos-edge/talos-edge/caddymodule/internal/logging"
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
	Store  core.Store // may be shared with other nodes
	dsn    string     // names Store in its pool
	watch  *databaseWatch
	pruner *pruner
	stored *storedNetworks

	hooksMu sync.Mutex
	hooks   []*webhook.Sender

	confirmations *confirm.Confirmations   // of Store
	emitting      *atomic.Pointer[emitter] // of Store
}

// embeddedSettings are what only an embedded node has, beside those of its networks.
type embeddedSettings struct {
	dsn       string        // canonical
	storage   string        // as it was given: a link on the way may later lead elsewhere, which the store notices
	clockSkew time.Duration // as [engine.Config] has it
	retention retention
	webhooks  []Webhook

	// Of networks that the database has: what their settings do not say, and how they get their secrets.
	defaults   KeyOptions
	sealStored func(context.Context, *networkSettings) error
}

// resolveEmbedded is resolve for a node with keys of its own.
func (a *App) resolveEmbedded() (s settings, err error) {
	e := &embeddedSettings{clockSkew: orOff(a.ClockSkew), webhooks: a.Webhooks, defaults: a.KeyOptions}
	s = settings{kind: e}
	if a.EdgeID != "" {
		return s, errors.New("edge_id: has a meaning beside upstream only: it is the name of a sidecar")
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
	e.storage = a.Storage
	if e.storage == "" {
		e.storage = "sqlite://" + filepath.ToSlash(filepath.Join(caddy.AppDataDir(), "talos.db"))
	}
	if e.dsn, err = storage.Canonical(e.storage); err != nil {
		return s, err
	}
	s.networks, err = a.resolveNetworks(func(n *networkSettings, o *KeyOptions) error {
		return n.resolve(o, e.clockSkew)
	})
	return s, err
}

// errShared is the error of a database that several nodes can use, without the secrets that they have to share.
var errShared = errors.New("storage: several nodes can use this database, and generated secrets would be those of " +
	"one: give every node the same hmac_secret and the same signing_keys (TALOS_SECRETS_HMAC_CURRENT and " +
	"TALOS_SIGNING_KEYS for `talos serve`); make them with `openssl rand -hex 32` and " +
	"`talos jwk generate eddsa --jwks -o FILE`")

// checkShared refuses secrets that would be generated where several nodes need the same.
func (s *settings) checkShared() error {
	e, ok := s.kind.(*embeddedSettings)
	if !ok || !storage.Shared(e.storage) {
		return nil
	}
	for _, n := range s.networks {
		if len(n.secrets) == 0 || n.signing.Source == "" {
			return errShared
		}
	}
	return nil
}

// maxClockSkew bounds the leeway for tokens: clocks that differ by more are not skewed but wrong.
const maxClockSkew = time.Hour

// maxSealing is how many networks have their secrets fetched at once.
const maxSealing = 64

// seal makes the keyrings and the signing keys. The pool key is a salted hash over all settings. A secret that is not
// the database's is refused before anything is generated or migrated, and where there are several networks, when their
// secrets are claimed.
func (e *embeddedSettings) seal(ctx context.Context, a *App, s *settings) error {
	err := each(s.networks, func(n *networkSettings) error { return n.fetchSecret(ctx, a) })
	if err != nil {
		return err
	}
	checks, err := e.storedChecks(ctx, s)
	if err != nil {
		return fmt.Errorf("opening the storage: %w", err)
	}
	err = each(s.networks, func(n *networkSettings) error { return n.seal(ctx, a, e.dsn, checks[n.id]) })
	if err != nil {
		return err
	}
	e.sealStored = func(ctx context.Context, n *networkSettings) error {
		if err := n.fetchSecret(ctx, a); err != nil {
			return err
		}
		check, err := storage.ReadSecretCheck(ctx, e.storage, n.id, storeOptions())
		if err != nil {
			return err
		}
		return n.seal(ctx, a, e.dsn, check)
	}
	s.key = s.hash([]string{e.dsn, e.clockSkew.String(), fmt.Sprint(e.retention)}, webhookFields(e.webhooks))
	return nil
}

// each calls f for each network, for some at once, and returns the first error.
func each(all []*networkSettings, f func(*networkSettings) error) error {
	var group errgroup.Group
	group.SetLimit(maxSealing)
	for _, n := range all {
		group.Go(func() error { return f(n) })
	}
	return group.Wait()
}

// storedChecks are the check values of the secrets that the database has. Of several networks they are read only if one
// of them has no secret: whether it is new is then known before one is generated.
func (e *embeddedSettings) storedChecks(ctx context.Context, s *settings) (map[core.NetworkID]string, error) {
	if !s.several() {
		check, err := storage.ReadSecretCheck(ctx, e.storage, core.NetworkID{}, storeOptions())
		return map[core.NetworkID]string{{}: check}, err
	}
	if !slices.ContainsFunc(s.networks, func(n *networkSettings) bool { return len(n.secrets) == 0 }) {
		return nil, nil //nolint:nilnil // nothing is known, and nothing need be
	}
	state, err := storage.ReadState(ctx, e.storage)
	if core.ReasonOf(err) == core.FailedPrecondition { // there is no database yet
		return nil, nil //nolint:nilnil // it has no secret
	}
	if err != nil {
		return nil, err
	}
	return state.Checks, nil
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

// open opens the store, or joins the nodes that have it open, and makes an engine over it for each network. Secrets
// that are not those of the stored keys are an error.
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
	n := &Embedded{Store: store, dsn: e.dsn, confirmations: store.Confirmations, emitting: &store.emitting}
	shared := new(engine.Shared)
	own, err := e.openNetworks(ctx, s, store, shared)
	if err != nil {
		return nil, err
	}
	n.watch = newDatabaseWatch(logging.Current("talos.storage"), &s.cache,
		func() outage.Counts { return countsOf(n.verifier) })
	cache := s.cache
	cache.Observer = n.watch
	uses := new(usage.Recorder)
	cache.Used = uses.Record
	n.verifier, err = verify.New(cache, engine.NewNetworks(store, n.Keys))
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	n.limiter, n.outage = limiter, n.watch.active
	n.uses = newUseWriter(ctx, uses, store.RecordUse, logging.Current("talos.storage"))
	n.stored = newStoredNetworks(e, n, store, shared, n.members(s, own))
	if err := n.stored.start(ctx); err != nil {
		n.verifier.Close()
		n.uses.close()
		n.watch.close()
		return nil, err
	}
	n.pruner = newPruner(ctx, e.retention, store, logging.Current("talos.storage"))
	return n, nil
}

// openNetworks makes the networks with their engines, in their order. The secrets are claimed side by side, so that the
// store writes many at once.
func (e *embeddedSettings) openNetworks(
	ctx context.Context, s *settings, store *pooledStore, shared *engine.Shared,
) ([]*network, error) {
	own := make([]*network, len(s.networks))
	var group errgroup.Group
	group.SetLimit(maxClaims)
	for i, n := range s.networks {
		group.Go(func() (err error) {
			own[i], err = e.openNetwork(ctx, n, store, shared)
			return err
		})
	}
	return own, group.Wait()
}

// openNetwork makes a network with its engine, and claims its secrets.
func (e *embeddedSettings) openNetwork(
	ctx context.Context, n *networkSettings, store *pooledStore, shared *engine.Shared,
) (*network, error) {
	keys, err := engine.New(n.engine(n.keyring, e.clockSkew, shared), store)
	if err != nil {
		return nil, err
	}
	return &network{keys: keys, api: adminapi.Network{
		Keys: keys, Confirmations: store.Confirmations, AwaitPosition: keys.AwaitPosition,
	}}, e.claim(ctx, n, keys)
}

// maxClaims is how many networks claim their secrets at once.
const maxClaims = 100

// claim claims a network's secrets, and warns of keys with prefixes that are not configured.
func (e *embeddedSettings) claim(ctx context.Context, n *networkSettings, keys *engine.Engine) error {
	if err := keys.Claim(ctx); err != nil {
		if core.ReasonOf(err) == core.FailedPrecondition {
			return errors.Join(n.errSecret(e.dsn), err)
		}
		return fmt.Errorf("comparing the HMAC secrets with the storage: %w", err)
	}
	unknown, err := keys.UnknownPrefixes(ctx)
	if err != nil {
		return fmt.Errorf("reading the prefixes of the stored keys: %w", err)
	}
	e.warnOfPrefixes(&n.prefixes, unknown)
	return nil
}

// Keys are the keys of a network; nil if it is not one of this node.
func (n *Embedded) Keys(id core.NetworkID) *engine.Engine {
	if own := n.networks.ByID(id); own != nil {
		return own.keys
	}
	return nil
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
func (n *Embedded) Verify(r *http.Request, network core.NetworkID, credential string) (verify.Result, error) {
	return n.verify(r, network, credential)
}

// Admin serves the whole API.
func (n *Embedded) Admin(o adminapi.Options) http.Handler { return adminapi.Admin(n.options(o)) }

// Public serves self-revocation and the key set.
func (n *Embedded) Public(o adminapi.PublicOptions) *adminapi.Public {
	o.Options = n.options(o.Options)
	return adminapi.NewPublic(o)
}

func (n *Embedded) options(o adminapi.Options) adminapi.Options {
	o = n.base.options(o)
	o.Ready = n.Store.Ping
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
	n.hooksMu.Lock()
	defer n.hooksMu.Unlock()
	collectWebhooks(ch, n.hooks)
}

// deliver has the node's webhooks deliver the changes of networks.
func (n *Embedded) deliver(ctx context.Context, webhooks []Webhook, networks []core.NetworkID) error {
	if len(webhooks) == 0 {
		return nil
	}
	n.hooksMu.Lock()
	defer n.hooksMu.Unlock()
	closeWebhooks(n.hooks)
	n.hooks = nil
	hooks, err := openWebhooks(ctx, webhooks, networks, n.Store)
	n.hooks = hooks
	return err
}

func (n *Embedded) close() error {
	n.stored.close()
	closeWebhooks(n.hooks)
	n.uses.close()
	n.pruner.close()
	n.watch.close()
	return releaseStore(n.dsn)
}

// Interface guard.
var _ Node = (*Embedded)(nil)
