package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/caddymodule/internal/pool"
	"github.com/talos-edge/talos-edge/caddymodule/redact"
	"github.com/talos-edge/talos-edge/core"
)

// App is one node: its storage, its secrets, and its cache of verdicts. The handlers `talos_gate`, `talos_admin` and
// `talos_public` work on it. Without any configuration it is a node of its own with SQLite in Caddy's data directory.
//
// Text values may hold placeholders, which are expanded once, when the configuration is loaded.
type App struct {
	KeyOptions

	// Storage is the DSN of the database: `sqlite:///absolute/path.db`, `sqlite://relative.db` or, for several nodes,
	// `postgres://user@host/name?sslmode=verify-full`; these then need HMACSecret and SigningKeys. Default: `talos.db`
	// in Caddy's data directory.
	Storage string `json:"storage,omitempty"`

	// ClockSkew is the leeway for the times that tokens name, at most `1h`; keys have none. Default: `5m`.
	ClockSkew *Duration `json:"clock_skew,omitempty"`

	// RateLimit says where the uses of keys that have a rate limit are counted: `memory`, in this process; the URL of a
	// Redis, which several nodes share (`redis://`, `rediss://`, `redis-sentinel://`, `redis-cluster://`); or `off`,
	// nowhere, so that no limit is enforced. Default: `memory`.
	RateLimit string `json:"rate_limit,omitempty"`

	// Cache says how long verdicts are cached.
	Cache *Cache `json:"cache,omitempty"`

	// Events says which events of the feed of changes are kept.
	Events *Events `json:"events,omitempty"`

	// EdgeID is the name under which a sidecar acknowledges the changes of its upstream's feed, at most 64 characters.
	// Default: the host's name and a random part, a new one for each process.
	EdgeID string `json:"edge_id,omitempty"`

	// Webhooks are receivers of changes, of all networks. Default: none.
	Webhooks []Webhook `json:"webhooks,omitempty"`

	// Networks are the networks of a node that has several: each has its own keys, hosts and settings. The options
	// above are the defaults of theirs. A request for any other host is refused. Default: none, there is one network,
	// and every host is its.
	Networks []Network `json:"networks,omitempty"`

	// Upstream makes the node a sidecar, which has neither storage nor secrets: the upstream has the keys. Of the
	// options above it takes the prefixes, by which it tells credentials apart, the cache and the rate limit.
	// Default: none.
	Upstream *Upstream `json:"upstream,omitempty"`

	settings settings
	exposure redact.Exposure   // filled by the gates as they are provisioned
	storage  certmagic.Storage // where generated secrets are
	logger   *zap.Logger

	onlyChecked bool                           // the configuration will not be started
	emitter     *emitter                       // nil before Provision
	servers     []*caddyhttp.Server            // those with a handler of ours
	http        func() (*caddyhttp.App, error) // of the configuration; nil before Provision

	sealing sync.Mutex // guards sealed, and the settings until they are
	sealed  bool       // the settings have their secrets and their key

	taken bool // one of the uses is the configuration's own

	mu   sync.Mutex // held to set node
	_    [64]byte   // uses changes with each request: it has a cache line of its own, with what is read beside it
	uses atomic.Int64
	node atomic.Pointer[pooledNode] // nil unless it is in use; while it is there, a use of it in the pool is the app's
	_    [64]byte
}

// Cache is the configuration of the cache of verdicts.
type Cache struct {
	// Off looks up every credential for every request.
	Off bool `json:"off,omitempty"`

	// TTL is the lifetime of a positive verdict. Default: `60s`.
	TTL Duration `json:"ttl,omitempty"`

	// TTLConnected is the same while every change is known to arrive. Default: `10m`, or TTL if that is longer.
	TTLConnected Duration `json:"ttl_connected,omitempty"`

	// NegativeTTL is the lifetime of any other verdict. 0: none is cached. Default: `5s`.
	NegativeTTL *Duration `json:"negative_ttl,omitempty"`

	// StaleIfError is for how long after its lifetime a positive verdict serves while the storage fails. 0: not at all.
	// Default: `5m`.
	StaleIfError *Duration `json:"stale_if_error,omitempty"`

	// MaxSize bounds the memory of the cache, in bytes, at least 4 MiB. Default: 100 MiB.
	MaxSize int64 `json:"max_size,omitempty"`
}

// Of returns the app of the configuration that a handler is provisioned for; one with defaults when the configuration
// has none. Unless the configuration is only checked, it first compares the ports of all servers with those of other
// processes, and then opens the app's node, or joins the one that the configuration before this one opened under
// the same settings. Caddy starts no listener before all is provisioned. So a configuration whose node cannot be
// opened, or whose secrets are not those that its stored keys were made with, is refused before it takes a connection.
func Of(ctx caddy.Context) (*App, error) {
	module, err := ctx.App("talos")
	if err != nil {
		return nil, err
	}
	app, ok := module.(*App)
	if !ok {
		return nil, fmt.Errorf("the app talos is a %T", module)
	}
	if err := app.addServer(ctx); err != nil {
		return nil, err
	}
	if app.onlyChecked {
		return app, nil
	}
	if err := app.take(); err != nil {
		return nil, err
	}
	return app, nil
}

// Running returns the app of the configuration that runs now; nil if that has none.
func Running() *App {
	module, err := caddy.ActiveContext().AppIfConfigured("talos")
	app, ok := module.(*App)
	if err != nil || !ok {
		return nil
	}
	return app
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "talos", New: func() caddy.Module { return new(App) }}
}

// Provision expands placeholders and checks the settings. It opens nothing: [Of] does.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	a.storage = ctx.Storage()
	if err := a.expand(); err != nil {
		return err
	}
	var err error
	if a.settings, err = a.resolve(); err != nil {
		return err
	}
	if err := a.settings.checkShared(); err != nil {
		return err
	}
	if err := ctx.GetMetricsRegistry().Register(collector{a}); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	a.onlyChecked = onlyChecked()
	return a.watchStart(ctx)
}

// Start compares the ports of all servers with those of other processes, and opens the node when no handler has: the
// configuration may have none, or a program has itself provisioned the context. It warns of logs that would show
// credentials, since all gates are known by then.
func (a *App) Start() error {
	app, err := a.http()
	if err != nil {
		return err
	}
	if app != nil {
		if err := checkPorts(context.Background(), app); err != nil {
			return err
		}
	}
	if err := a.take(); err != nil {
		return err
	}
	a.emitter.prepare(a.node.Load().Node)
	a.exposure.Warn(a.logger)
	return nil
}

// take takes the configuration's own use of the node, once.
func (a *App) take() error {
	if a.taken {
		return nil
	}
	if _, err := a.hold(); err != nil {
		a.Release()
		return err
	}
	a.taken = true
	return nil
}

// Stop ends the events of changes. Requests may be on their way until Cleanup, and after it.
func (a *App) Stop() error {
	a.emitter.stop()
	return nil
}

// Cleanup gives back the configuration's own use of the node, if there is one: it also runs when Provision failed.
// Caddy does not wait for requests before it; the last of those that have begun closes the node.
func (a *App) Cleanup() error {
	if a.taken {
		a.taken = false
		a.Release()
	}
	return nil
}

// Hold begins a use of the app by a request, and returns the node, which stays open until Release. If it is not open it
// is opened: a request of a configuration that is gone, which had not begun before the last use ended, opens it again.
// A node that cannot be opened answers everything with [core.Unavailable].
func (a *App) Hold() Node {
	n, err := a.hold()
	if err != nil {
		return newClosed(err)
	}
	return n.Node
}

// hold is Hold with the error. The use has begun with an error, too.
func (a *App) hold() (*pooledNode, error) {
	a.uses.Add(1)
	if n := a.node.Load(); n != nil {
		return n, nil
	}
	n, err := a.acquire()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	first := a.node.CompareAndSwap(nil, n)
	a.mu.Unlock()
	if !first { // another request has opened it: the pool gave both the same
		a.giveBack()
	}
	return n, nil
}

// Release ends a use. The last one closes the node, unless another configuration has the same one.
func (a *App) Release() {
	if a.uses.Add(-1) > 0 {
		return
	}
	a.mu.Lock()
	n := a.node.Swap(nil)
	if n != nil && a.uses.Load() > 0 { // a use that began meanwhile may have found the node
		a.node.Store(n)
		n = nil
	}
	a.mu.Unlock()
	if n != nil {
		a.giveBack()
	}
}

// acquire takes a use of the node, which it opens if need be, within [pool.OpenTimeout]. The caller gives it back by
// giveBack. The deadline is acquire's own, because others may wait for the same node.
//
//nolint:contextcheck,nolintlint // a caller's context must not end it; contextcheck obeys this here and does not say so
func (a *App) acquire() (*pooledNode, error) {
	type opening struct {
		node *pooledNode
		err  error
	}
	limit := pool.OpenTimeout
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	notice := time.AfterFunc(limit/10, func() {
		a.logger.Warn("still opening the node; is its database locked by another process, or being migrated?",
			zap.Duration("gives_up_after", limit))
	})
	defer notice.Stop()
	done := make(chan opening)
	// Not everything obeys the context: nothing interrupts a disk that hangs. A node that is opened too late is closed.
	go func() {
		n, err := a.acquireWithin(ctx)
		select {
		case done <- opening{n, err}:
		case <-ctx.Done():
			if err == nil {
				a.giveBack()
			}
		}
	}()
	var o opening
	select {
	case o = <-done:
	case <-ctx.Done():
		o.err = ctx.Err()
	}
	if o.err != nil && ctx.Err() != nil {
		return nil, core.WrapError(core.Unavailable, fmt.Sprintf("the node did not open within %s: its database is "+
			"locked by another process, or slow; if it has to be migrated, run `talos migrate up` first",
			limit), o.err)
	}
	return o.node, o.err
}

// acquireWithin is acquire without a bound of its own.
func (a *App) acquireWithin(ctx context.Context) (*pooledNode, error) {
	s, err := a.seal(ctx)
	if err != nil {
		return nil, err
	}
	return acquireNode(ctx, s)
}

func (a *App) giveBack() {
	if err := releaseNode(a.settings.key); err != nil {
		a.logger.Error("closing the node", zap.Error(err))
	}
}

// seal returns the settings with the secrets, which are generated or fetched if they were not given.
func (a *App) seal(ctx context.Context) (*settings, error) {
	a.sealing.Lock()
	defer a.sealing.Unlock()
	if a.sealed {
		return &a.settings, nil
	}
	if a.settings.kind == nil {
		return nil, errors.New("the app was not provisioned")
	}
	if err := a.settings.kind.seal(ctx, a, &a.settings); err != nil {
		return nil, err
	}
	a.sealed = true
	return &a.settings, nil
}

// Exposure finds the logs that would show credentials. A gate adds what it reads them from.
func (a *App) Exposure() *redact.Exposure { return &a.exposure }

// Several reports whether the configuration has several networks.
func (a *App) Several() bool { return a.settings.several() }

// MayServe reports whether the node may serve a network: one of the configuration, or with a database any, since those
// come and go there.
func (a *App) MayServe(network core.NetworkID) bool {
	return a.Upstream == nil || a.settings.several() && slices.Contains(a.settings.ids(), network)
}

// StaleWindow is for how long a verdict may serve past its lifetime while its source fails.
func (a *App) StaleWindow() time.Duration { return staleWindow(&a.settings.cache) }

// defaultStaleWindow is the default of [verify.Config.StaleIfError].
const defaultStaleWindow = 5 * time.Minute

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
