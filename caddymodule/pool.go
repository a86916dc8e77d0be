package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage"
)

// openTimeout bounds the opening of a node: of its secrets, and of its storage, with migrations. A reload waits as long
// while the configuration before it serves. It is a variable for tests.
var openTimeout = 10 * time.Second

// The pools outlive configurations. A piece closes when its last use is given back.
var (
	nodes  = caddy.NewUsagePool() // settings.key → *node
	stores = caddy.NewUsagePool() // canonical DSN → *pooledStore

	// closing has the stores that are open or being closed, by DSN. A store leaves its pool before it is closed; a new
	// one on the same database waits until then, so that no two of them in one process see a change at different times.
	closing sync.Map
)

// loadOrNew takes a use of a pooled value, which it constructs within ctx if need be. Whoever joins a construction that
// another caller began does not fail with that caller's context: the value is constructed again.
func loadOrNew(ctx context.Context, pool *caddy.UsagePool, key string, construct caddy.Constructor) (any, error) {
	for {
		value, joined, err := pool.LoadOrNew(key, construct)
		ended := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
		if !joined || !ended || ctx.Err() != nil {
			return value, err
		}
	}
}

// pooledStore is a store that several nodes share.
type pooledStore struct {
	core.Store
	dsn    string
	closed chan struct{}
}

// acquireStore takes a use of the store of a canonical DSN, which it opens by the DSN that was given. The caller gives
// it back by releaseStore.
func acquireStore(ctx context.Context, dsn, given string) (*pooledStore, error) {
	value, err := loadOrNew(ctx, stores, dsn, func() (caddy.Destructor, error) {
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
		options := storage.Options{Logger: currentLogger("talos.storage")}
		var err error
		if s.Store, err = storage.Open(ctx, given, options); err != nil {
			s.markClosed()
			return nil, err
		}
		live.addStore(s)
		return s, nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err)
	}
	return value.(*pooledStore), nil //nolint:errcheck,forcetypeassert // the pool holds nothing else
}

func releaseStore(dsn string) error {
	_, err := stores.Delete(dsn)
	return err
}

// Destruct closes the store after its last use.
func (s *pooledStore) Destruct() error {
	defer s.markClosed()
	defer live.removeStore(s)
	return s.Close()
}

func (s *pooledStore) markClosed() {
	closing.Delete(s.dsn)
	close(s.closed)
}

// acquireNode takes a use of the node of the settings. ctx bounds the opening only. The caller gives it back by
// releaseNode.
func acquireNode(ctx context.Context, s *settings) (*node, error) {
	value, err := loadOrNew(ctx, nodes, s.key, func() (caddy.Destructor, error) {
		limiter, err := acquireLimiter(s.rateLimit)
		if err != nil {
			return nil, err
		}
		n, err := newNode(ctx, s)
		if err != nil {
			return nil, errors.Join(err, releaseLimiter(s.rateLimit))
		}
		n.limiter, n.rateLimit = limiter, s.rateLimit
		live.addNode(n)
		return n, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*node), nil //nolint:errcheck,forcetypeassert // the pool holds nothing else
}

// newNode opens a node, and its store if it has one.
func newNode(ctx context.Context, s *settings) (*node, error) {
	if s.upstream != nil {
		return openSidecar(s)
	}
	store, err := acquireStore(ctx, s.dsn, s.storage)
	if err != nil {
		return nil, err
	}
	n, err := openNode(ctx, s, store)
	if err != nil {
		return nil, errors.Join(err, releaseStore(s.dsn))
	}
	return n, nil
}

func releaseNode(key string) error {
	_, err := nodes.Delete(key)
	return err
}
