package webhook

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
)

const (
	// noticeInterval is how often keys are looked for that are about to expire.
	noticeInterval = time.Minute
	// maxNotices is how many notices of a period are not delivered, at most. No more are read until there is room.
	maxNotices = 300
)

// noticeDays are how many days before a key's expiry there is a notice, the earliest first.
var noticeDays = [...]int{30, 7, 1}

const day = 24 * time.Hour

// notice is a notice that has been read and is not delivered yet.
type notice struct {
	message *message
	due     time.Time
	network core.NetworkID
	keyID   string
	expires time.Time
}

// period are the notices of one number of days. Each notice is repeated on its own, so one that is refused holds up no
// other. The lock of the window guards what changes.
type period struct {
	days  int
	ahead time.Duration // before the expiry of a key
	next  time.Duration // the one of the following period; 0: there is none

	read    time.Time // the notices of all keys that expire before it have been read
	pending map[*notice]struct{}
	room    chan struct{} // has an element when a notice was removed
}

// newPeriods are the periods of which all notices before a moment were delivered.
func newPeriods(until time.Time) (all [len(noticeDays)]*period) {
	for i, days := range noticeDays {
		ahead := time.Duration(days) * day
		all[i] = &period{
			days: days, ahead: ahead, read: until.Add(ahead), pending: map[*notice]struct{}{},
			room: make(chan struct{}, 1),
		}
		if i+1 < len(noticeDays) {
			all[i].next = time.Duration(noticeDays[i+1]) * day
		}
	}
	return all
}

// sendNotices delivers the notices of a period, until ctx ends. Of all periods, as many attempts are made at once as
// slots has room for.
func (s *Sender) sendNotices(ctx context.Context, w *window, p *period, slots chan struct{}) {
	var group sync.WaitGroup
	defer group.Wait()
	begin := func(n *notice) { group.Go(func() { s.sendNotice(ctx, w, p, n, slots) }) }
	queries := make([]core.ExpiryQuery, len(s.config.Networks))
	for i, id := range s.config.Networks {
		queries[i] = core.ExpiryQuery{Network: id, From: p.read}
	}
	for {
		more, read := false, time.Time{} // what has been read in every network
		for i := range queries {
			q := &queries[i]
			if q.Limit = min(w.awaitNoticeRoom(ctx, p), pageSize); q.Limit == 0 {
				return
			}
			more = s.readNotices(ctx, w, p, q, begin) || more
			if i == 0 || q.From.Before(read) {
				read = q.From
			}
		}
		w.noticesRead(p, read)
		if !more && !pause(ctx, noticeInterval) {
			return
		}
	}
}

// readNotices reads one page of the notices of a network that have become due, begins each, and moves q behind them. It
// reports whether there may be more. What cannot be read is left for the next time.
func (s *Sender) readNotices(
	ctx context.Context, w *window, p *period, q *core.ExpiryQuery, begin func(*notice),
) (more bool) {
	now := time.Now()
	q.Before = now.Add(p.ahead)
	// A key that is past the next notice, or has expired, while none could be read gets that notice alone.
	if past := now.Add(p.next); q.From.Before(past) {
		q.From, q.AfterID = past, ""
	}
	if !q.From.Before(q.Before) { // the clock was set back
		return false
	}
	var found []core.Key
	if s.selects(TypeExpiring) {
		var err error
		if found, err = s.config.Store.Expiring(ctx, *q); err != nil {
			return false // the store logs that the database fails
		}
	}
	for i := range found {
		k := &found[i]
		q.From, q.AfterID = k.ExpireTime, k.ID
		due := k.ExpireTime.Add(-p.ahead)
		if !due.After(k.CreateTime) { // it was issued for no longer than that
			continue
		}
		m, err := ofNotice(k, p.days)
		if err != nil {
			s.config.Logger.Error("a notice cannot be delivered to a webhook", zap.Error(err))
			continue
		}
		n := &notice{message: m, due: due, network: k.Network, keyID: k.ID, expires: k.ExpireTime}
		w.addNotice(p, n)
		begin(n)
	}
	more = len(found) == q.Limit
	if !more {
		q.From, q.AfterID = q.Before, ""
	}
	return more
}

// sendNotice delivers a notice.
func (s *Sender) sendNotice(ctx context.Context, w *window, p *period, n *notice, slots chan struct{}) {
	send := func(ctx context.Context, m *message) Outcome {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			return s.endpoint.send(ctx, m)
		case <-ctx.Done():
			return Outcome{Result: ResultTimeout, Err: ctx.Err()}
		}
	}
	if s.deliver(ctx, n.message, send, func() bool { return s.expires(ctx, n) }) {
		w.finishNotice(p, n)
	}
}

// expires reports whether a notice is of use: its key is still about to expire, as far as is known.
func (s *Sender) expires(ctx context.Context, n *notice) bool {
	k, err := s.config.Store.Get(ctx, n.network, n.keyID)
	if err != nil {
		return core.ReasonOf(err) != core.KeyNotFound
	}
	return k.StatusAt(time.Now()) == core.StatusActive && k.SuccessorID == "" && k.ExpireTime.Equal(n.expires)
}
