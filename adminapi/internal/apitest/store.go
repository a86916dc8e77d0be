package apitest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// Store is a core.Store in memory.
type Store struct {
	mu        sync.Mutex
	keys      map[string]core.Key
	order     []string // of the keys, by their creation
	positions feed.Positions
	position  uint64
	writes    int
	events    []feed.Event
	pruned    uint64 // the position of the last event that is not kept
	readers   map[string]*feedReader
	down      error // in place of every answer
	nodes     map[string]core.NodeState
	awaited   time.Time
}

// NewStore makes an empty store.
func NewStore() *Store {
	return &Store{
		keys: map[string]core.Key{}, nodes: map[string]core.NodeState{}, readers: map[string]*feedReader{},
	}
}

// SetDown is that of [core.Store].
func (m *Store) SetDown(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

// Written is that of [core.Store].
func (m *Store) Written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// Get is that of [core.Store].
func (m *Store) Get(_ context.Context, network core.NetworkID, keyID string) (core.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return core.Key{}, m.down
	}
	k, ok := m.keys[network.String()+"/"+keyID]
	if !ok {
		return core.Key{}, core.NewError(core.KeyNotFound, "no such key")
	}
	return k, nil
}

// GetMany is that of [core.Store].
func (m *Store) GetMany(
	ctx context.Context, network core.NetworkID, keyIDs []string,
) (map[string]core.Key, error) {
	found := map[string]core.Key{}
	for _, id := range keyIDs {
		k, err := m.Get(ctx, network, id)
		switch {
		case err == nil:
			found[id] = k
		case core.ReasonOf(err) != core.KeyNotFound:
			return nil, err
		}
	}
	return found, nil
}

// Prefixes is that of [core.Store]: no test of the API reads them.
func (*Store) Prefixes(context.Context, core.NetworkID) ([]core.PrefixCount, error) { return nil, nil }

// ClaimSecret is that of [core.Store].
func (*Store) ClaimSecret(context.Context, core.NetworkID, []string) error { return nil }

// Events is that of [core.Store].
func (m *Store) Events(_ context.Context, after uint64, limit int) (feed.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return feed.Page{}, m.down
	}
	page := feed.Page{FeedID: "feed-of-the-test", Begin: m.pruned, Last: m.position}
	for _, e := range m.events {
		if e.Position > after && len(page.Events) < limit {
			page.Events = append(page.Events, e)
		}
	}
	return page, nil
}

// Append adds an event that none of the other methods makes, such as one of another network, at the next position.
func (m *Store) Append(e feed.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.append(e)
}

// Restore makes the feed continue at a position, as it does in a database that was restored from a backup.
func (m *Store) Restore(at uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position = at - 1
	m.append(feed.Event{Kind: feed.EventRestored})
}

func (m *Store) append(e feed.Event) {
	m.position++
	e.Position = m.position
	m.events = append(m.events, e)
	m.positions.Apply(e)
}

// PruneEvents removes the events beyond a number, whatever their age.
func (m *Store) PruneEvents(_ context.Context, _ time.Time, keep int) (removed int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	removed = max(len(m.events)-keep, 0)
	m.events = m.events[removed:]
	m.pruned = m.position - uint64(len(m.events))
	return removed, m.down
}

// SaveNode is that of [core.Store].
func (m *Store) SaveNode(_ context.Context, n core.NodeState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[n.ID] = n
	return m.down
}

// RemoveNode is that of [core.Store].
func (m *Store) RemoveNode(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.nodes, id)
	return m.down
}

// Nodes is that of [core.Store].
func (m *Store) Nodes(context.Context) (nodes []core.NodeState, awaited time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(m.nodes)) {
		nodes = append(nodes, m.nodes[id])
	}
	return nodes, m.awaited, m.down
}

// AwaitNodes is that of [core.Store].
func (m *Store) AwaitNodes(_ context.Context, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if until.After(m.awaited) {
		m.awaited = until
	}
	return m.down
}

// Positions is that of [core.Store].
func (m *Store) Positions() *feed.Positions { return &m.positions }

// Ping is that of [core.Store].
func (m *Store) Ping(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down
}

// Close is that of [core.Store].
func (*Store) Close() error { return nil }

func (m *Store) apply(ctx context.Context, k core.Key, e feed.Event) {
	m.writes++
	name := k.Network.String() + "/" + k.ID
	if _, known := m.keys[name]; !known {
		m.order = append(m.order, name)
	}
	m.keys[name] = k
	if e.Kind == feed.EventDeleted {
		delete(m.keys, name)
		m.order[slices.Index(m.order, name)] = "" // the places of the others stay
	}
	e.Network, e.KeyID, e.KeyKind, e.ActorID = k.Network, k.ID, uint8(k.Kind), k.ActorID
	e.Time, e.Caller = k.UpdateTime, core.CallerOf(ctx)
	if k.Status == core.StatusRevoked {
		e.Reason = uint8(k.RevocationReason)
	}
	m.append(e)
}

// Create is that of [core.Store].
func (m *Store) Create(ctx context.Context, key core.Key) (core.Key, bool, error) {
	results, err := m.CreateMany(ctx, key.Network, []core.Key{key}, 0)
	if err != nil {
		return core.Key{}, false, err
	}
	return results[0].Key, results[0].Created, results[0].Err
}

// CreateMany is that of [core.Store].
func (m *Store) CreateMany(
	ctx context.Context, network core.NetworkID, keys []core.Key, quota int64,
) ([]core.CreateResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return nil, m.down
	}
	results := make([]core.CreateResult, len(keys))
	for i, key := range keys {
		results[i] = m.create(ctx, network, key, quota)
	}
	return results, nil
}

func (m *Store) create(
	ctx context.Context, network core.NetworkID, key core.Key, quota int64,
) core.CreateResult {
	var live int64
	for _, k := range m.keys {
		if k.Network != network {
			continue
		}
		if key.RequestID != "" && k.RequestID == key.RequestID && k.Kind == key.Kind {
			return core.CreateResult{Key: k}
		}
		if k.StatusAt(key.CreateTime) == core.StatusActive {
			live++
		}
	}
	if _, taken := m.keys[network.String()+"/"+key.ID]; taken {
		return core.CreateResult{Err: core.NewError(core.Conflict, "there is such a key")}
	}
	if quota > 0 && live >= quota {
		return core.CreateResult{Err: core.NewError(core.KeyQuotaExceeded, "the quota is full")}
	}
	m.apply(ctx, key, feed.Event{Kind: feed.EventCreated})
	return core.CreateResult{Key: key, Created: true}
}

// List is that of [core.Store].
func (m *Store) List(_ context.Context, q core.ListQuery) (page core.KeyPage, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return page, m.down
	}
	for place, name := range m.order {
		k, there := m.keys[name]
		switch {
		case uint64(place) < q.After || !there || k.Network != q.Network || k.Kind != q.Kind:
		case q.ActorID != "" && k.ActorID != q.ActorID || q.Status != 0 && k.StatusAt(q.Now) != q.Status:
		case !q.UsedBefore.IsZero() && !k.LastUsedTime.Before(q.UsedBefore):
		case len(page.Keys) == q.Limit:
			page.Next = uint64(place)
			return page, nil
		default:
			page.Keys = append(page.Keys, k)
		}
	}
	return page, nil
}

// RecordUse is that of [core.Store].
func (m *Store) RecordUse(_ context.Context, uses []core.Use) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return m.down
	}
	for _, u := range uses {
		name := u.Network.String() + "/" + u.KeyID
		if k, there := m.keys[name]; there && u.Time.Sub(k.LastUsedTime) >= core.UseInterval {
			k.LastUsedTime = u.Time
			m.keys[name] = k
		}
	}
	return nil
}

// change replaces a key of a kind with what becomes of it.
func (m *Store) change(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, event feed.Event,
	of func(core.Key) (core.Key, error),
) (core.Key, error) {
	k, err := m.Get(ctx, network, keyID)
	if err != nil {
		return core.Key{}, err
	}
	if kind != core.AnyKind && k.Kind != kind {
		return core.Key{}, core.NewError(core.KeyNotFound, "no such key")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if k, err = of(k); err != nil {
		return core.Key{}, err
	}
	m.apply(ctx, k, event)
	return k, nil
}

// Update is that of [core.Store].
func (m *Store) Update(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, u core.Update,
) (core.Key, error) {
	return m.change(ctx, network, kind, keyID, feed.Event{Kind: feed.EventUpdated}, u.Of)
}

// Rotate is that of [core.Store].
func (m *Store) Rotate(
	ctx context.Context, network core.NetworkID, keyID string, r core.Rotation,
) (fresh, old core.Key, err error) {
	rotated := feed.Event{Kind: feed.EventRotated, Related: r.NewKeyID}
	old, err = m.change(ctx, network, core.Issued, keyID, rotated, func(k core.Key) (left core.Key, err error) {
		fresh, left, err = r.Of(k)
		return left, err
	})
	if err != nil {
		return core.Key{}, core.Key{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apply(ctx, fresh, feed.Event{Kind: feed.EventCreated, Related: keyID})
	return fresh, old, nil
}

// Delete is that of [core.Store].
func (m *Store) Delete(ctx context.Context, network core.NetworkID, keyID string, _ core.Deletion) error {
	_, err := m.change(ctx, network, core.Imported, keyID, feed.Event{Kind: feed.EventDeleted},
		func(k core.Key) (core.Key, error) { return k, nil })
	return err
}

// Revoke is that of [core.Store].
func (m *Store) Revoke(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
) (core.Key, error) {
	return m.change(ctx, network, kind, keyID, feed.Event{Kind: feed.EventRevoked}, func(k core.Key) (core.Key, error) {
		if k.Status == core.StatusRevoked && !k.IsSuspended() {
			return core.Key{}, core.NewError(core.FailedPrecondition, "the key is revoked already")
		}
		k.Status, k.RevocationReason, k.RevocationDescription = core.StatusRevoked, r.Reason, r.Description
		k.UpdateTime, k.SuspendTime = r.Time, time.Time{}
		return k, nil
	})
}

// RevokeLineage is that of [core.Store].
func (m *Store) RevokeLineage(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Revocation,
) (revoked []core.Key, err error) {
	k, err := m.Get(ctx, network, keyID)
	if err != nil || kind != core.AnyKind && k.Kind != kind {
		return nil, errors.Join(err, core.NewError(core.KeyNotFound, "no such key"))
	}
	m.mu.Lock()
	var ids []string
	for _, name := range m.order {
		if one, there := m.keys[name]; there && one.Network == network && one.Lineage() == k.Lineage() {
			ids = append(ids, one.ID)
		}
	}
	m.mu.Unlock()
	for _, id := range ids {
		if one, err := m.Revoke(ctx, network, core.AnyKind, id, r); err == nil {
			revoked = append(revoked, one)
		}
	}
	if len(revoked) == 0 {
		return nil, core.NewError(core.FailedPrecondition, "all are revoked already")
	}
	return revoked, nil
}

// Suspend is that of [core.Store].
func (m *Store) Suspend(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, s core.Suspension,
) (core.Key, error) {
	return m.change(ctx, network, kind, keyID, feed.Event{Kind: feed.EventSuspended}, s.Of)
}

// Resume is that of [core.Store], without a quota.
func (m *Store) Resume(
	ctx context.Context, network core.NetworkID, kind core.Kind, keyID string, r core.Resumption,
) (core.Key, error) {
	return m.change(ctx, network, kind, keyID, feed.Event{Kind: feed.EventResumed}, r.Of)
}

// Networks is that of [core.Store]: there are none.
func (*Store) Networks(context.Context) ([]core.Network, error) { return nil, nil }

// CreateNetwork is that of [core.Store]: none can be made.
func (*Store) CreateNetwork(context.Context, core.Network) error { return errors.ErrUnsupported }

// SuspendNetwork is that of [core.Store]: there are none.
func (*Store) SuspendNetwork(context.Context, core.NetworkID, bool, time.Time) (core.Network, error) {
	return core.Network{}, core.NewError(core.NotFound, "there are no networks")
}
