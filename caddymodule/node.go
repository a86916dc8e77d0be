package caddymodule

import (
	"context"
	"errors"
	"fmt"

	"github.com/talos-edge/talos-edge/adminapi/upstream"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// node is a verifier over what knows the keys: an engine, with a store that it may share with other nodes, or an
// upstream.
type node struct {
	network  core.NetworkID
	verifier *verify.Verifier

	limiter   ratelimit.Limiter // nil: no limit is enforced
	rateLimit string            // names limiter in its pool

	engine *core.Engine // nil: a sidecar
	store  *pooledStore // the engine's

	upstream *upstream.Upstream // nil: an engine
}

// openNode makes a node over a store. Secrets that are not those of the stored keys are an error.
func openNode(ctx context.Context, s *settings, store *pooledStore) (*node, error) {
	engine, err := core.NewEngine(s.engine(s.keyring), store)
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
	return &node{engine: engine, verifier: verifier, store: store}, nil
}

// Destruct closes the node after its last use. It waits for look-ups in flight.
func (n *node) Destruct() error {
	n.verifier.Close()
	live.removeNode(n)
	if n.upstream != nil {
		n.upstream.Close()
		return releaseLimiter(n.rateLimit)
	}
	return errors.Join(releaseLimiter(n.rateLimit), releaseStore(n.store.dsn))
}

// ready returns nil when what knows the keys answers.
func (n *node) ready(ctx context.Context) error {
	if n.upstream != nil {
		return n.upstream.Ready(ctx)
	}
	return n.engine.Ready(ctx)
}

// positions are the changes that the node's verdicts are held against.
func (n *node) positions() *feed.Positions {
	if n.upstream != nil {
		return n.upstream.Positions()
	}
	return n.store.Positions()
}
