package sqlite

import (
	"context"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// Create adds a key.
func (s *Store) Create(ctx context.Context, key core.Key) (core.Key, bool, error) {
	var (
		stored  core.Key
		created bool
	)
	err := s.writer.do(ctx, func(ctx context.Context, w *sqlstore.Writer) (event *core.Event, err error) {
		stored, event, err = w.Create(ctx, key)
		created = event != nil
		return event, err
	})
	if err != nil {
		// The closure may still run, when ctx ended first: its variables are not touched.
		return core.Key{}, false, err
	}
	return stored, created, nil
}

// Revoke makes a key a revoked one.
func (s *Store) Revoke(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
) (core.Key, error) {
	var revoked core.Key
	err := s.writer.do(ctx, func(ctx context.Context, w *sqlstore.Writer) (event *core.Event, err error) {
		revoked, event, err = w.Revoke(ctx, network, kind, keyID, r)
		return event, err
	})
	if err != nil {
		return core.Key{}, err
	}
	return revoked, nil
}

// ClaimSecret compares a network's secrets with the ones that its keys were made with.
func (s *Store) ClaimSecret(ctx context.Context, network core.NetworkID, checks []string) error {
	return s.writer.do(ctx, func(ctx context.Context, w *sqlstore.Writer) (*core.Event, error) {
		return nil, w.ClaimSecret(ctx, network, checks)
	})
}

// Get returns a key.
func (s *Store) Get(ctx context.Context, network core.NetworkID, keyID string) (k core.Key, err error) {
	err = s.read(ctx, func(ctx context.Context) error {
		k, err = s.reader.Get(ctx, network, keyID)
		return err
	})
	return k, err
}

// GetMany returns those of the named keys that exist.
func (s *Store) GetMany(
	ctx context.Context, network core.NetworkID, keyIDs []string,
) (found map[string]core.Key, err error) {
	err = s.read(ctx, func(ctx context.Context) error {
		found, err = s.reader.GetMany(ctx, network, keyIDs)
		return err
	})
	return found, err
}

// Positions is the table that changes are applied to.
func (s *Store) Positions() *core.Positions { return s.positions }

// Ping reads from the file.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, func(ctx context.Context) error {
		var n int
		return s.ping.QueryRowContext(ctx).Scan(&n)
	})
}

// read runs a look-up when one of the pool's connections is free.
func (s *Store) read(ctx context.Context, look func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return translate(err)
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return translate(ctx.Err())
	case <-s.closing:
		return errClosed()
	}
	defer func() { <-s.slots }()
	select {
	case <-s.closing:
		return errClosed()
	default:
	}
	return translate(look(ctx))
}
