package apitest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// feedReader is a reader of the feed, and who owns its name.
type feedReader struct {
	core.FeedReader
	owner string
	until time.Time
}

// ClaimReader is that of [core.Store].
func (m *Store) ClaimReader(_ context.Context, c core.ReaderClaim) (core.FeedReader, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return core.FeedReader{}, m.down
	}
	r, known := m.readers[c.Name]
	switch {
	case !known:
		r = &feedReader{FeedReader: core.FeedReader{Position: m.position, NoticesUntil: time.Now()}}
		m.readers[c.Name] = r
	case r.owner != c.Owner && r.until.After(time.Now()):
		return core.FeedReader{}, core.NewError(core.Conflict, "another process reads the feed under this name")
	}
	r.owner, r.until = c.Owner, time.Now().Add(c.Lease)
	return r.FeedReader, nil
}

// SaveReader is that of [core.Store].
func (m *Store) SaveReader(_ context.Context, c core.ReaderClaim, at core.FeedReader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return m.down
	}
	r := m.readers[c.Name]
	if r == nil || r.owner != c.Owner {
		return core.NewError(core.Conflict, "another process has begun to read the feed under this name")
	}
	r.until = time.Now().Add(c.Lease)
	r.Position = max(r.Position, at.Position)
	if at.NoticesUntil.After(r.NoticesUntil) {
		r.NoticesUntil = at.NoticesUntil
	}
	return nil
}

// Reader is how far the only reader has come.
func (m *Store) Reader() core.FeedReader {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.readers {
		return r.FeedReader
	}
	return core.FeedReader{}
}

// Expiring is that of [core.Store].
func (m *Store) Expiring(_ context.Context, q core.ExpiryQuery) (found []core.Key, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return nil, m.down
	}
	for _, k := range m.keys {
		if k.Network != q.Network || k.Status != core.StatusActive || k.SuccessorID != "" ||
			k.ExpireTime.Before(q.From) || !k.ExpireTime.Before(q.Before) ||
			k.ExpireTime.Equal(q.From) && k.ID <= q.AfterID {
			continue
		}
		found = append(found, k)
	}
	slices.SortFunc(found, func(a, b core.Key) int {
		return cmp.Or(a.ExpireTime.Compare(b.ExpireTime), cmp.Compare(a.ID, b.ID))
	})
	return found[:min(len(found), q.Limit)], nil
}
