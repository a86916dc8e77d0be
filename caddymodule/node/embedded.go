package node

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/internal/clientaddr"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Embedded is a node with keys of its own.
type Embedded struct {
	base
	Engine *core.Engine
	Store  core.Store // may be shared with other nodes
	dsn    string     // names Store in its pool
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
			_ = releaseStore(e.dsn)
		}
	}()
	engine, err := core.NewEngine(e.engine(s.prefixes, e.keyring), store)
	if err != nil {
		return nil, err
	}
	if err := engine.Claim(ctx); err != nil {
		if core.ReasonOf(err) == core.FailedPrecondition {
			return nil, fmt.Errorf("the HMAC secrets are not those that the keys in the storage were made with; "+
				"bring back the earlier secret, as hmac_secret or among the retired ones: %w", err)
		}
		return nil, fmt.Errorf("comparing the HMAC secrets with the storage: %w", err)
	}
	verifier, err := verify.New(s.cache, engine)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return &Embedded{base: base{verifier: verifier, limiter: limiter}, Engine: engine, Store: store, dsn: e.dsn}, nil
}

// Verify asks the verifier.
func (n *Embedded) Verify(r *http.Request, credential string) (verify.Result, error) {
	return n.verify(r, credential)
}

// Admin serves the whole API.
func (n *Embedded) Admin(logger *zap.Logger) http.Handler {
	return adminapi.Admin(n.options(logger))
}

// Public serves self-revocation and the key set.
func (n *Embedded) Public(o adminapi.PublicOptions) *adminapi.Public {
	o.Options = n.options(o.Logger)
	return adminapi.NewPublic(o)
}

func (n *Embedded) options(logger *zap.Logger) adminapi.Options {
	network := adminapi.Network{ID: n.network, Keys: n.Engine, Verifier: n.verifier}
	return adminapi.Options{
		Network:     func(*http.Request) (adminapi.Network, error) { return network, nil },
		ClientAddr:  clientaddr.Of,
		Ready:       n.Engine.Ready,
		RateLimiter: n.limiter,
		Logger:      logger,
	}
}

func (n *Embedded) collect(ch chan<- prometheus.Metric) {
	positions := n.Store.Positions()
	gauge(ch, feedPositionDesc, float64(positions.Applied()))
	if at := positions.CompleteAt(); at != 0 {
		gauge(ch, feedLagDesc, max(0, time.Since(time.Unix(0, at)).Seconds()))
	}
}

func (n *Embedded) close() error { return releaseStore(n.dsn) }

// Interface guard.
var _ Node = (*Embedded)(nil)
