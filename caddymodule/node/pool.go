package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/internal/build"
	"github.com/talos-edge/talos-edge/caddymodule/internal/logging"
	"github.com/talos-edge/talos-edge/caddymodule/internal/pool"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/confirm"
	"github.com/talos-edge/talos-edge/storage"
)

// closing has the stores that are open or being closed, by DSN. A store leaves its pool before it is closed; a new one
// on the same database waits until then, so that no two of them in one process see a change at different times.
var closing sync.Map

// pooledStore is a store that several nodes share.
type pooledStore struct {
	core.Store
	Confirmations *confirm.Confirmations
	emitting      atomic.Pointer[emitter] // the last one that began, until it stops; nil: there is none

	dsn    string
	closed chan struct{}
}

// acquireStore takes a use of the store of a canonical DSN, which it opens by the DSN that was given. The caller gives
// it back by releaseStore.
func acquireStore(ctx context.Context, dsn, given string) (*pooledStore, error) {
	store, err := pool.Acquire(ctx, pool.Stores, dsn, func() (*pooledStore, error) {
		s := &pooledStore{dsn: dsn, closed: make(chan struct{})}
		for {
			before, loaded := closing.LoadOrStore(dsn, s)
			if !loaded {
				break
			}
			select {
			case <-before.(*pooledStore).closed: //nolint:errcheck,forcetypeassert // the map holds nothing else
			case <-ctx.Done():
				return nil, fmt.Errorf("waiting for the last use of the storage to end: %w", ctx.Err())
			}
		}
		var err error
		if s.Store, err = storage.Open(ctx, given, storeOptions()); err != nil {
			s.markClosed()
			return nil, err
		}
		s.Confirmations = confirm.New(ctx, s.Store, defaultEdgeID(), build.Read().Version)
		s.Confirmations.Confirmed = func(d time.Duration) { edgeConfirmSeconds.Observe(d.Seconds()) }
		inUse.addStore(s)
		return s, nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err)
	}
	return store, nil
}

func storeOptions() storage.Options {
	return storage.Options{Logger: logging.Current("talos.storage")}
}

func releaseStore(dsn string) error {
	_, err := pool.Stores.Delete(dsn)
	return err
}

// Destruct closes the store after its last use.
func (s *pooledStore) Destruct() error {
	defer s.markClosed()
	defer inUse.removeStore(s)
	s.Confirmations.Close()
	return s.Close()
}

func (s *pooledStore) markClosed() {
	closing.Delete(s.dsn)
	close(s.closed)
}

// pooledNode is a node that several configurations share.
type pooledNode struct {
	Node
	rateLimit string // names its limiter in its pool
}

// acquireNode takes a use of the node of the settings. ctx bounds the opening only. The caller gives it back by
// releaseNode.
func acquireNode(ctx context.Context, s *settings) (*pooledNode, error) {
	return pool.Acquire(ctx, pool.Nodes, s.key, func() (*pooledNode, error) {
		limiter, err := acquireLimiter(ctx, s.rateLimit)
		if err != nil {
			return nil, err
		}
		opened, err := s.kind.open(ctx, s, limiter)
		if err != nil {
			return nil, errors.Join(err, releaseLimiter(s.rateLimit))
		}
		n := &pooledNode{Node: opened, rateLimit: s.rateLimit}
		inUse.addNode(n)
		return n, nil
	})
}

func releaseNode(key string) error {
	_, err := pool.Nodes.Delete(key)
	return err
}

// Destruct closes the node after its last use. It waits for look-ups under way.
func (n *pooledNode) Destruct() error {
	n.Verifier().Close()
	inUse.removeNode(n)
	return errors.Join(n.close(), releaseLimiter(n.rateLimit))
}
