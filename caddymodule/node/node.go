package node

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/internal/clientaddr"
	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Node answers for keys. There are two kinds, [Embedded] and [Sidecar]; what is above a node does not ask which one it
// is. A node is open from [App.Hold] to [App.Release].
type Node interface {
	// Network returns the network of a request, by its host: [networks.ErrUnknown] if that is of none.
	Network(r *http.Request) (core.NetworkID, error)

	// Serves returns nil if the node has a network, and [networks.ErrUnknown] if not.
	Serves(network core.NetworkID) error

	// Verify returns the verdict on a credential in a network, for the client of a request. An error means that there
	// is none.
	Verify(r *http.Request, network core.NetworkID, credential string) (verify.Result, error)

	// Limiter counts the uses of keys that have a limit; nil when the option rate_limit is off.
	Limiter() ratelimit.Limiter

	// Verifier is what Verify asks.
	Verifier() *verify.Verifier

	// Admin makes the private surface. Of the options it takes Logger and Audit.
	Admin(o adminapi.Options) http.Handler

	// Public makes the public surface. Of the options it takes Health, Limiter, Logger and Audit.
	Public(o adminapi.PublicOptions) *adminapi.Public

	collect(ch chan<- prometheus.Metric) // the gauges that nodes of its kind have
	close() error                        // after the verifier
}

// kind is one kind of node, as its settings say: what has to be known to open one.
type kind interface {
	// seal makes the pool key of s, once the secrets are there, which are fetched from Caddy's storage or generated if
	// they were not given. It reads the files that the settings name; a reload after one has changed makes another
	// node.
	seal(ctx context.Context, a *App, s *settings) error

	// open makes a node, with a limiter that the caller closes after it.
	open(ctx context.Context, s *settings, limiter ratelimit.Limiter) (Node, error)

	// describe says for the log what kind of node it is, and where it has its keys from.
	describe() []zap.Field
}

// base is what both kinds of node have.
type base struct {
	networks networks.Registry[network]
	verifier *verify.Verifier
	limiter  ratelimit.Limiter // nil: no limit is enforced
	uses     *useWriter
	outage   func() bool // reports whether there is an outage that has been logged
}

// network is one network of a node.
type network struct {
	api  adminapi.Network
	keys *engine.Engine // nil on a sidecar
}

// members are networks for the registry, of which there are as many as the settings have, in their order.
func (b *base) members(s *settings, own []*network) []networks.Member[network] {
	members := make([]networks.Member[network], len(own))
	for i, n := range s.networks {
		members[i] = b.member(n, own[i])
	}
	return members
}

func (b *base) member(n *networkSettings, own *network) networks.Member[network] {
	own.api.ID, own.api.Verifier, own.api.Used = n.id, b.verifier, b.uses.recorder.Record
	return networks.Member[network]{ID: n.id, Hosts: n.hosts, Value: own}
}

// Network finds the network of a request.
func (b *base) Network(r *http.Request) (core.NetworkID, error) {
	if n := b.networks.Of(r); n != nil {
		return n.api.ID, nil
	}
	return core.NetworkID{}, networks.ErrUnknown
}

// Serves finds a network by its id.
func (b *base) Serves(network core.NetworkID) error {
	if b.networks.ByID(network) == nil {
		return networks.ErrUnknown
	}
	return nil
}

// Limiter counts uses.
func (b *base) Limiter() ratelimit.Limiter { return b.limiter }

// Verifier is the node's verifier.
func (b *base) Verifier() *verify.Verifier { return b.verifier }

// verify asks the verifier, from memory before anything of the request is read.
func (b *base) verify(r *http.Request, network core.NetworkID, credential string) (verify.Result, error) {
	if result, ok := b.verifier.Cached(network, credential); ok {
		return result, nil
	}
	ctx := verify.WithClient(r.Context(), clientaddr.Of(r))
	result, err := b.verifier.Verify(ctx, network, credential, verify.Use)
	if err != nil {
		return result, marked(err, b.outage())
	}
	return result, nil
}

// options are those of a surface of the node, with the loggers of o.
func (b *base) options(o adminapi.Options) adminapi.Options {
	return adminapi.Options{
		Network: func(r *http.Request) (adminapi.Network, error) {
			if n := b.networks.Of(r); n != nil {
				return n.api, nil
			}
			return adminapi.Network{}, networks.ErrUnknown
		},
		ClientAddr:  clientaddr.Of,
		RateLimiter: b.limiter,
		Logger:      o.Logger,
		Audit:       o.Audit,
		Origin:      origin,
		WhenClosing: o.WhenClosing,
		Outage:      b.outage,

		SelfRevocationFailed: selfRevocationFailed,
	}
}

// Surface makes what a handler serves with an app's node, once for each node.
type Surface[T any] struct {
	app   *App
	serve func(Node) T
	last  atomic.Pointer[made[T]]
}

type made[T any] struct {
	of    Node
	value T
}

// NewSurface makes a surface, which opens no node yet.
func NewSurface[T any](app *App, serve func(Node) T) *Surface[T] {
	return &Surface[T]{app: app, serve: serve}
}

// Hold begins a request: it returns what to serve it with, over a node that stays open until Release.
func (s *Surface[T]) Hold() T {
	n := s.app.Hold()
	if m := s.last.Load(); m != nil && m.of == n {
		return m.value
	}
	m := &made[T]{n, s.serve(n)}
	s.last.Store(m)
	return m.value
}

// Release ends a request.
func (s *Surface[T]) Release() { s.app.Release() }
