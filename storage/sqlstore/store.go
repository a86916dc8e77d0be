package sqlstore

import (
	"context"
	"slices"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// Changes are the methods of a [core.Store] that change something. An engine embeds them.
type Changes struct{ group *GroupCommit }

// Changes are what the group commits.
func (g *GroupCommit) Changes() Changes { return Changes{g} }

// Create adds a key.
func (c Changes) Create(ctx context.Context, key core.Key) (core.Key, bool, error) {
	var (
		stored  core.Key
		created bool
	)
	err := c.group.do(ctx, func(ctx context.Context, w *Writer) (err error) {
		stored, created, err = w.Create(ctx, key)
		return err
	})
	if err != nil {
		// The closure may still run, when ctx ended first: its variables are not touched. So in all methods below.
		return core.Key{}, false, err
	}
	return stored, created, nil
}

// CreateMany adds keys of one network.
func (c Changes) CreateMany(
	ctx context.Context, network core.NetworkID, keys []core.Key, quota int64,
) ([]core.CreateResult, error) {
	keys = slices.Clone(keys) // a caller that goes away must not change what is still being written
	var results []core.CreateResult
	err := c.group.do(ctx, func(ctx context.Context, w *Writer) (err error) {
		results, err = w.CreateMany(ctx, network, keys, quota)
		return err
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Update changes fields of a key.
func (c Changes) Update(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, u core.Update,
) (core.Key, error) {
	return c.one(ctx, func(ctx context.Context, w *Writer) (core.Key, error) {
		return w.Update(ctx, network, kind, keyID, u)
	})
}

// Rotate puts a new key in the place of an issued one.
func (c Changes) Rotate(
	ctx context.Context, network core.NetworkID, keyID string, r core.Rotation,
) (fresh, old core.Key, err error) {
	var made, revoked core.Key
	err = c.group.do(ctx, func(ctx context.Context, w *Writer) (err error) {
		made, revoked, err = w.Rotate(ctx, network, keyID, r)
		return err
	})
	if err != nil {
		return core.Key{}, core.Key{}, err
	}
	return made, revoked, nil
}

// Delete removes an imported key.
func (c Changes) Delete(ctx context.Context, network core.NetworkID, keyID string, d core.Deletion) error {
	return c.group.do(ctx, func(ctx context.Context, w *Writer) error { return w.Delete(ctx, network, keyID, d) })
}

// Revoke makes a key a revoked one.
func (c Changes) Revoke(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
) (core.Key, error) {
	return c.one(ctx, func(ctx context.Context, w *Writer) (core.Key, error) {
		return w.Revoke(ctx, network, kind, keyID, r)
	})
}

// RevokeLineage revokes a key, its predecessors and its successors.
func (c Changes) RevokeLineage(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
) ([]core.Key, error) {
	var revoked []core.Key
	err := c.group.do(ctx, func(ctx context.Context, w *Writer) (err error) {
		revoked, err = w.RevokeLineage(ctx, network, kind, keyID, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return revoked, nil
}

// Suspend makes a key one that is refused until it is resumed.
func (c Changes) Suspend(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, s core.Suspension,
) (core.Key, error) {
	return c.one(ctx, func(ctx context.Context, w *Writer) (core.Key, error) {
		return w.Suspend(ctx, network, kind, keyID, s)
	})
}

// Resume makes a suspended key what it was.
func (c Changes) Resume(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Resumption,
) (core.Key, error) {
	return c.one(ctx, func(ctx context.Context, w *Writer) (core.Key, error) {
		return w.Resume(ctx, network, kind, keyID, r)
	})
}

// ClaimSecret compares a network's secrets with the ones that its keys were made with.
func (c Changes) ClaimSecret(ctx context.Context, network core.NetworkID, checks []string) error {
	return c.group.do(ctx, func(ctx context.Context, w *Writer) error {
		return w.ClaimSecret(ctx, network, checks)
	})
}

// ClaimReader makes a process the owner of a reader's name.
func (c Changes) ClaimReader(ctx context.Context, claim core.ReaderClaim) (core.FeedReader, error) {
	var at core.FeedReader
	err := c.group.do(ctx, func(ctx context.Context, w *Writer) (err error) {
		at, err = w.ClaimReader(ctx, claim)
		return err
	})
	if err != nil {
		return core.FeedReader{}, err
	}
	return at, nil
}

// SaveReader records how far an owner's reader has come.
func (c Changes) SaveReader(ctx context.Context, claim core.ReaderClaim, at core.FeedReader) error {
	return c.group.do(ctx, func(ctx context.Context, w *Writer) error { return w.SaveReader(ctx, claim, at) })
}

// one has a change of one key made and returns the key.
func (c Changes) one(
	ctx context.Context, apply func(context.Context, *Writer) (core.Key, error),
) (core.Key, error) {
	var changed core.Key
	err := c.group.do(ctx, func(ctx context.Context, w *Writer) (err error) {
		changed, err = apply(ctx, w)
		return err
	})
	if err != nil {
		return core.Key{}, err
	}
	return changed, nil
}

// Guard runs a look-up when it may run, and gives its error the meaning of a [core.Store]'s.
type Guard func(ctx context.Context, look func(context.Context) error) error

// Reads are the methods of a [core.Store] that only read. An engine embeds them.
type Reads struct {
	guard  Guard
	reader *Reader
	feed   *Feed
}

// NewReads makes the Reads of a Reader and a Feed, each of whose calls goes through guard.
func NewReads(guard Guard, reader *Reader, f *Feed) Reads { return Reads{guard, reader, f} }

// Get returns a key.
func (r Reads) Get(ctx context.Context, network core.NetworkID, keyID string) (k core.Key, err error) {
	err = r.guard(ctx, func(ctx context.Context) error {
		k, err = r.reader.Get(ctx, network, keyID)
		return err
	})
	return k, err
}

// GetMany returns those of the named keys that exist.
func (r Reads) GetMany(
	ctx context.Context, network core.NetworkID, keyIDs []string,
) (found map[string]core.Key, err error) {
	err = r.guard(ctx, func(ctx context.Context) error {
		found, err = r.reader.GetMany(ctx, network, keyIDs)
		return err
	})
	return found, err
}

// List returns a page of keys.
func (r Reads) List(ctx context.Context, q core.ListQuery) (page core.KeyPage, err error) {
	err = r.guard(ctx, func(ctx context.Context) error {
		page, err = r.reader.List(ctx, q)
		return err
	})
	return page, err
}

// Prefixes returns how many issued keys are not revoked, by prefix.
func (r Reads) Prefixes(ctx context.Context, network core.NetworkID) (counts []core.PrefixCount, err error) {
	err = r.guard(ctx, func(ctx context.Context) error {
		counts, err = r.reader.Prefixes(ctx, network)
		return err
	})
	return counts, err
}

// Expiring returns keys that expire in a period.
func (r Reads) Expiring(ctx context.Context, q core.ExpiryQuery) (found []core.Key, err error) {
	err = r.guard(ctx, func(ctx context.Context) error {
		found, err = r.reader.Expiring(ctx, q)
		return err
	})
	return found, err
}

// Events returns a page of changes.
func (r Reads) Events(ctx context.Context, after uint64, limit int) (page feed.Page, err error) {
	err = r.guard(ctx, func(ctx context.Context) error {
		page, err = r.feed.Events(ctx, after, limit)
		return err
	})
	return page, err
}
