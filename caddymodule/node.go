package caddymodule

import (
	"context"
	"fmt"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// node is an engine with its verifier, over a store that it may share with other nodes.
type node struct {
	network  core.NetworkID
	engine   *core.Engine
	verifier *verify.Verifier
	store    *pooledStore
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
				"bring back the secret of before, as hmac_secret or among the retired ones: %w", err)
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
	return releaseStore(n.store.dsn)
}
