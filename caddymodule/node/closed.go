package node

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/internal/clientaddr"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// closed stands for a node that could not be opened. Whatever it is asked, the answer is the error.
type closed struct{ err error }

func newClosed(cause error) closed {
	return closed{core.WrapError(core.Unavailable, "the node is not open", cause)}
}

// Verify can say nothing.
func (n closed) Verify(*http.Request, string) (verify.Result, error) { return verify.Result{}, n.err }

// Limiter is never asked: no credential is good.
func (closed) Limiter() ratelimit.Limiter { return nil }

// Verifier is nil.
func (closed) Verifier() *verify.Verifier { return nil }

// Admin refuses all but the question whether the process lives.
func (n closed) Admin(logger *zap.Logger) http.Handler { return adminapi.Admin(n.options(logger)) }

// Public refuses what is the public surface's.
func (n closed) Public(o adminapi.PublicOptions) *adminapi.Public {
	o.Options = n.options(o.Logger)
	return adminapi.NewPublic(o)
}

func (n closed) options(logger *zap.Logger) adminapi.Options {
	return adminapi.Options{
		Network:    func(*http.Request) (adminapi.Network, error) { return adminapi.Network{}, n.err },
		ClientAddr: clientaddr.Of,
		Ready:      func(context.Context) error { return n.err },
		Logger:     logger,
	}
}

func (closed) collect(chan<- prometheus.Metric) {}

func (closed) close() error { return nil }

// Interface guard.
var _ Node = closed{}
