package node

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/internal/clientaddr"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// closed is in place of a node that could not be opened. It answers everything with the error.
type closed struct{ err error }

func newClosed(cause error) closed {
	return closed{core.WrapError(core.Unavailable, "the node is not open", cause)}
}

// Network returns the error.
func (n closed) Network(*http.Request) (core.NetworkID, error) { return core.NetworkID{}, n.err }

// Serves returns the error.
func (n closed) Serves(core.NetworkID) error { return n.err }

// Verify returns the error.
func (n closed) Verify(*http.Request, core.NetworkID, string) (verify.Result, error) {
	return verify.Result{}, n.err
}

// Limiter is nil: no credential is valid, so none is counted.
func (closed) Limiter() ratelimit.Limiter { return nil }

// Verifier is nil.
func (closed) Verifier() *verify.Verifier { return nil }

// Admin refuses everything but the liveness check.
func (n closed) Admin(o adminapi.Options) http.Handler { return adminapi.Admin(n.options(o)) }

// Public refuses the requests of the public surface.
func (n closed) Public(o adminapi.PublicOptions) *adminapi.Public {
	o.Options = n.options(o.Options)
	return adminapi.NewPublic(o)
}

func (n closed) options(o adminapi.Options) adminapi.Options {
	return adminapi.Options{
		Network:    func(*http.Request) (adminapi.Network, error) { return adminapi.Network{}, n.err },
		ClientAddr: clientaddr.Of,
		Ready:      func(context.Context) error { return n.err },
		Logger:     o.Logger,

		SelfRevocationFailed: selfRevocationFailed,
	}
}

func (closed) collect(chan<- prometheus.Metric) {}

func (closed) close() error { return nil }

// Interface guard.
var _ Node = closed{}
