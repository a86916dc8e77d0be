package sqlite

import (
	"context"
	"slices"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// Create adds a key.
func (s *Store) Create(ctx context.Context, key core.Key) (core.Key, bool, error) {
	var (
		stored  core.Key
		created bool
	)
	err := s.writer.do(ctx, func(ctx context.Context, w *sqlstore.Writer) (events []feed.Event, err error) {
		stored, events, err = w.Create(ctx, key)
		created = len(events) > 0
		return events, err
	})
	if err != nil {
		// The closure may still run, when ctx ended first: its variables are not touched. So in all verbs below.
		return core.Key{}, false, err
	}
	return stored, created, nil
}

// CreateMany adds keys of one network.
func (s *Store) CreateMany(
	ctx context.Context, network core.NetworkID, keys []core.Key, quota int64,
) ([]core.CreateResult, error) {
	keys = slices.Clone(keys) // a caller that goes away must not change what is still being written
	var results []core.CreateResult
	err := s.writer.do(ctx, func(ctx context.Context, w *sqlstore.Writer) (events []feed.Event, err error) {
		results, events, err = w.CreateMany(ctx, network, keys, quota)
		return events, err
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Update changes fields of a key.
func (s *Store) Update(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, u core.Update,
) (core.Key, error) {
	var updated core.Key
	err := s.writer.do(ctx, func(ctx context.Context, w *sqlstore.Writer) (events []feed.Event, err error) {
		updated, events, err = w.Update(ctx, network, kind, keyID, u)
		return events, err
	})
	if err != nil {
		return core.Key{}, err
	}
	return updated, nil
}

// Rotate puts a new key in the place of an issued one.
func (s *Store) Rotate(
	ctx context.Context, network core.NetworkID, keyID string, r core.Rotation,
) (fresh, old core.Key, err error) {
	var made, revoked core.Key
	err = s.writer.do(ctx, func(ctx context.Context, w *sqlstore.Writer) (events []feed.Event, err error) {
		made, revoked, events, err = w.Rotate(ctx, network, keyID, r)
		return events, err
	})
	if err != nil {
		return core.Key{}, core.Key{}, err
	}
	return made, revoked, nil
}

// Delete removes an imported key.
func (s *Store) Delete(ctx context.Context, network core.NetworkID, keyID string, d core.Deletion) error {
	return s.writer.do(ctx, func(ctx context.Context, w *sqlstore.Writer) ([]feed.Event, error) {
		return w.Delete(ctx, network, keyID, d)
	})
}

// Revoke makes a key a revoked one.
func (s *Store) Revoke(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
) (core.Key, error) {
	var revoked core.Key
	err := s.writer.do(ctx, func(ctx context.Context, w *sqlstore.Writer) (events []feed.Event, err error) {
		revoked, events, err = w.Revoke(ctx, network, kind, keyID, r)
		return events, err
	})
	if err != nil {
		return core.Key{}, err
	}
	return revoked, nil
}

// ClaimSecret compares a network's secrets with the ones that its keys were made with.
func (s *Store) ClaimSecret(ctx context.Context, network core.NetworkID, checks []string) error {
	return s.writer.do(ctx, func(ctx context.Context, w *sqlstore.Writer) ([]feed.Event, error) {
		return nil, w.ClaimSecret(ctx, network, checks)
	})
}

// Events returns changes.
func (s *Store) Events(ctx context.Context, after uint64, limit int) (events []feed.Event, err error) {
	err = s.read(ctx, func(ctx context.Context) error {
		events, err = s.feed.Events(ctx, after, limit)
		return err
	})
	return events, err
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

// List returns a page of keys.
func (s *Store) List(ctx context.Context, q core.ListQuery) (page core.KeyPage, err error) {
	err = s.read(ctx, func(ctx context.Context) error {
		page, err = s.reader.List(ctx, q)
		return err
	})
	return page, err
}

// Positions is the table that changes are applied to.
func (s *Store) Positions() *feed.Positions { return s.positions }

// Ping looks a key up that there is not: what it needs is what every look-up needs, the schema too. What changes need
// beyond that is that the file is in its place.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.identity.check(); err != nil {
		return err
	}
	if _, err := s.Get(ctx, core.NetworkID{}, ""); err != nil && core.ReasonOf(err) != core.KeyNotFound {
		return err
	}
	return nil
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
	if err := s.identity.readable(); err != nil {
		return err
	}
	err := look(ctx)
	if isInterrupted(err) && ctx.Err() != nil {
		err = ctx.Err() // it is what broke the look-up off
	}
	return translate(err)
}
