package webhook

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
)

// noticeInterval is how often keys are looked for that are about to expire.
const noticeInterval = time.Minute

// noticeDays are how many days before a key's expiry there is a notice, the earliest first.
var noticeDays = [...]int{30, 7, 1}

const day = 24 * time.Hour

// sendNotices delivers notices of keys that are about to expire, until ctx ends.
func (s *Sender) sendNotices(ctx context.Context, w *window) {
	for {
		s.sendNoticesUntil(ctx, w, time.Now())
		if !pause(ctx, noticeInterval) {
			return
		}
	}
}

// sendNoticesUntil delivers the notices that have become due since the last time, and returns when all have been. What
// cannot be read is left for the next time.
func (s *Sender) sendNoticesUntil(ctx context.Context, w *window, now time.Time) {
	since := w.done().NoticesUntil
	if s.selects(TypeExpiring) {
		for i, days := range noticeDays {
			// A key that is past the next notice, or has expired, while no process was running gets that notice alone.
			var next time.Duration
			if i+1 < len(noticeDays) {
				next = time.Duration(noticeDays[i+1]) * day
			}
			ahead := time.Duration(days) * day
			from := since.Add(ahead)
			if past := now.Add(next); from.Before(past) {
				from = past
			}
			if !s.sendNoticesOf(ctx, w, days, core.ExpiryQuery{
				Network: s.config.Network, From: from, Before: now.Add(ahead), Limit: pageSize,
			}) {
				return
			}
		}
	}
	w.finishNotices(now)
}

// sendNoticesOf delivers the notices of a number of days for all keys of a query. It returns false if not all of them
// were.
func (s *Sender) sendNoticesOf(ctx context.Context, w *window, days int, q core.ExpiryQuery) bool {
	for {
		found, err := s.config.Store.Expiring(ctx, q)
		if err != nil {
			return false // the store logs that the database fails
		}
		if len(found) > 0 {
			w.beginNotices(time.Now())
		}
		var (
			group sync.WaitGroup
			slots = make(chan struct{}, lanes)
		)
		for i := range found {
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				s.sendNotice(ctx, &found[i], days)
			})
		}
		group.Wait()
		if ctx.Err() != nil {
			return false
		}
		if len(found) < q.Limit {
			return true
		}
		last := &found[len(found)-1]
		q.From, q.AfterID = last.ExpireTime, last.ID
	}
}

func (s *Sender) sendNotice(ctx context.Context, k *core.Key, days int) {
	m, err := ofNotice(k, days)
	if err != nil {
		s.config.Logger.Error("a notice cannot be delivered to a webhook", zap.Error(err))
		return
	}
	s.deliver(ctx, m, func() bool { return s.expires(ctx, k) })
}

// expires reports whether a notice about a key is of use: the key is still about to expire, as far as is known.
func (s *Sender) expires(ctx context.Context, k *core.Key) bool {
	now, err := s.config.Store.Get(ctx, k.Network, k.ID)
	if err != nil {
		return core.ReasonOf(err) != core.KeyNotFound
	}
	return now.StatusAt(time.Now()) == core.StatusActive && now.SuccessorID == "" && now.ExpireTime.Equal(k.ExpireTime)
}
