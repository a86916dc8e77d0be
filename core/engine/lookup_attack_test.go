package engine_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/talos-edge/talos-edge/core"
)

// countingStore counts the reads of keys.
type countingStore struct {
	core.Store
	reads atomic.Int64
}

func (s *countingStore) Get(ctx context.Context, n core.NetworkID, keyID string) (core.Key, error) {
	s.reads.Add(1)
	return s.Store.Get(ctx, n, keyID)
}

func (s *countingStore) GetMany(ctx context.Context, n core.NetworkID, ids []string) (map[string]core.Key, error) {
	s.reads.Add(1)
	return s.Store.GetMany(ctx, n, ids)
}

// Random credentials could each be an imported key, so they have to be looked up; a hundred of them are one read.
func TestAttack08_ABatchOfUnknownCredentialsIsOneRead(t *testing.T) {
	t.Parallel()
	store := &countingStore{Store: openStore(t)}
	e := newEngine(t, store, nil)
	creds := make([]string, 100)
	for i := range creds {
		creds[i] = fmt.Sprint("nobody-has-imported-this-", i)
	}
	before := store.reads.Load()
	results, err := lookUpMany(t, e, creds)
	if err != nil || len(results) != len(creds) {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for i, r := range results {
		if r.Err != nil || r.Verdict.Code != core.CodeNotFound {
			t.Errorf("credential %d: %+v", i, r)
		}
	}
	if n := store.reads.Load() - before; n != 1 {
		t.Errorf("%d reads for a hundred credentials", n)
	}
}
