package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/adminapi/webhook"
	"github.com/talos-edge/talos-edge/core"
)

const day = 24 * time.Hour

// onlyNotices leaves the changes out.
func onlyNotices(c *webhook.Config) { c.Types = []string{webhook.TypeExpiring} }

// notice is a delivery that is one.
func notice(t *testing.T, d delivery) (data webhook.Expiring) {
	t.Helper()
	var message struct {
		Type string
		Data webhook.Expiring
	}
	if err := json.Unmarshal(d.body, &message); err != nil || message.Type != webhook.TypeExpiring {
		t.Fatalf("%s: %v", d.body, err)
	}
	return message.Data
}

func TestSender_SendsANotice30And7And1DaysBeforeAKeyExpires(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.start(onlyNotices).Close()
		expires := time.Now().Add(31 * day).UTC()
		s.create("k", 31*day)
		s.create("never", 0)
		for i, days := range []int{30, 7, 1} {
			due := expires.Add(-time.Duration(days) * day)
			s.wait(time.Until(due) - time.Hour)
			sender := s.start(onlyNotices)
			s.create(fmt.Sprint("short", i), 12*time.Hour) // it begins behind all notices
			s.wait(2 * time.Hour)
			sender.Close()
			all := s.receiver.deliveries()
			if len(all) != i+1 {
				t.Fatalf("got %s", s.receiver.kinds())
			}
			checkSignature(t, all[i])
			got, want := notice(t, all[i]), webhook.Expiring{
				KeyID: "k", KeyType: "issued", ActorID: "actor", Name: "name of k", ExpireTime: expires, DaysLeft: days,
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if late := all[i].at.Sub(due); late < 0 || late > 2*time.Minute {
				t.Errorf("the notice of %d days came %s late", days, late)
			}
			if want := fmt.Sprintf("expiring_k_%d_%d", days, expires.Unix()); all[i].id != want {
				t.Errorf("its id is %s, want %s", all[i].id, want)
			}
		}
	})
}

func TestSender_ANoticeIsSentOnceWhateverIsRestartedAndLateIfNothingRan(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.create("k", 10*day)
		sender := s.start(onlyNotices)
		s.wait(time.Hour)
		sender.Close()
		s.wait(4 * day) // 7 days before is now in the past
		for range 3 {
			sender = s.start(onlyNotices)
			s.wait(time.Hour)
			sender.Close()
		}
		if all := s.receiver.deliveries(); len(all) != 1 || notice(t, all[0]).DaysLeft != 7 {
			t.Errorf("got %s", s.receiver.kinds())
		}
	})
}

func TestSender_AKeyThatPassedTwoNoticesWhileNothingRanGetsTheLaterOneAlone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		sender := s.start(onlyNotices)
		s.create("passed", 8*day)
		s.create("expired", 5*day)
		sender.Close()
		s.wait(7*day + time.Hour)
		sender = s.start(onlyNotices)
		defer sender.Close()
		s.wait(time.Hour)
		all := s.receiver.deliveries()
		if len(all) != 1 || all[0].keyID != "passed" || notice(t, all[0]).DaysLeft != 1 {
			t.Errorf("got %s", s.receiver.kinds())
		}
	})
}

// countedKeys counts the keys that were read because they are about to expire.
type countedKeys struct {
	*apitest.Store
	n atomic.Int64
}

func (c *countedKeys) Expiring(ctx context.Context, q core.ExpiryQuery) ([]core.Key, error) {
	found, err := c.Store.Expiring(ctx, q)
	c.n.Add(int64(len(found)))
	return found, err
}

func TestSender_NoNoticeIsLostWhenTheReceiverIsDown(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		const keys = 350 // more than are read ahead
		for i := range keys {
			s.create(fmt.Sprintf("k%03d", i), 7*day+time.Minute)
		}
		s.create("revoked", 7*day+time.Minute)
		read := &countedKeys{Store: s.Store}
		sender := s.start(onlyNotices, func(c *webhook.Config) { c.Store = read })
		defer sender.Close()
		s.receiver.setDown(true)
		s.wait(time.Hour + time.Minute)
		if lag, _ := sender.Lag(); lag < 59*time.Minute || lag > time.Hour {
			t.Errorf("the lag is %s", lag)
		}
		if n := read.n.Load(); n != 300 {
			t.Errorf("%d keys were read while nothing was delivered", n)
		}
		s.revoke("revoked")
		s.receiver.setDown(false)
		s.wait(time.Hour)
		seen := map[string]bool{}
		for _, d := range s.receiver.deliveries() {
			seen[d.keyID] = true
		}
		if len(seen) != keys || seen["revoked"] {
			t.Errorf("%d keys have a notice", len(seen))
		}
		if at := s.Reader().NoticesUntil; time.Since(at) > 2*time.Minute {
			t.Errorf("notices were sent until %s", at)
		}
		if lag, _ := sender.Lag(); lag != 0 {
			t.Errorf("the lag is %s", lag)
		}
	})
}

func TestSender_ANoticeThatIsRefusedHoldsUpNoOtherOne(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.receiver.become(func(w http.ResponseWriter, r *http.Request, d delivery) bool {
			if d.keyID == "refused" {
				return refuse(http.StatusBadRequest)(w, r, d)
			}
			return accept(w, r, d)
		})
		sender := s.start(onlyNotices)
		due := time.Now().Add(time.Hour)
		s.create("refused", 30*day+time.Hour)
		want := map[string]bool{}
		for i := range 20 {
			s.create(fmt.Sprint("month", i), 30*day+2*time.Hour)
			s.create(fmt.Sprint("week", i), 7*day+2*time.Hour)
			s.create(fmt.Sprint("day", i), day+2*time.Hour)
			want[fmt.Sprint("month", i)], want[fmt.Sprint("week", i)], want[fmt.Sprint("day", i)] = true, true, true
		}
		s.wait(2*time.Hour + 2*time.Minute)
		for _, d := range s.receiver.deliveries() {
			delete(want, d.keyID)
		}
		if len(want) != 0 || len(s.receiver.deliveries()) != 60 {
			t.Errorf("%d keys have no notice, %d were delivered", len(want), len(s.receiver.deliveries()))
		}
		if at := s.Reader().NoticesUntil; !at.Equal(due) {
			t.Errorf("notices were sent until %s, want %s: the refused one is not done", at, due)
		}
		sender.Close()
		s.receiver.become(accept)
		sender = s.start(onlyNotices)
		defer sender.Close()
		s.wait(time.Minute)
		if got := s.receiver.kinds(); strings.Count(got, " refused\n") != 1 {
			t.Errorf("after a restart: %s", got)
		}
	})
}

func TestSender_AKeyThatWasIssuedForAsLongAsANoticeIsAheadGetsTheNextOne(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		sender := s.start(onlyNotices)
		defer sender.Close()
		for i, days := range []int{30, 7, 1} {
			s.create(fmt.Sprint("k", i), time.Duration(days)*day)
		}
		s.wait(5 * time.Minute)
		if got := s.receiver.kinds(); got != "" {
			t.Errorf("got %s", got)
		}
		s.wait(6 * day)
		if all := s.receiver.deliveries(); len(all) != 1 || notice(t, all[0]).DaysLeft != 1 {
			t.Errorf("got %s", s.receiver.kinds())
		}
	})
}

// brokenAhead is a database that cannot read keys that expire after a week.
type brokenAhead struct{ *apitest.Store }

func (b brokenAhead) Expiring(ctx context.Context, q core.ExpiryQuery) ([]core.Key, error) {
	if ahead := time.Until(q.Before); ahead > day && ahead <= 7*day {
		return nil, core.NewError(core.Unavailable, "the disk is full")
	}
	return b.Store.Expiring(ctx, q)
}

func TestSender_NoNoticeIsRepeatedWhileThoseOfAnotherNumberOfDaysCannotBeRead(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		sender := s.start(onlyNotices, func(c *webhook.Config) { c.Store = brokenAhead{s.Store} })
		defer sender.Close()
		s.create("k", 30*day+time.Minute)
		s.wait(time.Hour)
		if got := s.receiver.kinds(); got != "key.expiring k\n" {
			t.Errorf("got %s", got)
		}
	})
}

func TestSender_ANoticeThatCannotBeDeliveredEndsWithTheKey(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*setup){
		"expired": func(s *setup) { s.wait(2 * day) },
		"revoked": func(s *setup) { s.revoke("k") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(s *setup) {
				s.create("k", day+time.Hour)
				sender := s.start(onlyNotices)
				defer sender.Close()
				s.receiver.become(refuse(500))
				s.wait(2 * time.Hour)
				end(s)
				s.wait(10 * time.Minute)
				s.receiver.become(accept)
				s.wait(time.Hour)
				if n, dropped := len(s.receiver.deliveries()), s.count(webhook.ResultDropped); n != 0 || dropped != 1 {
					t.Errorf("%d were delivered, %d dropped", n, dropped)
				}
			})
		})
	}
}

func TestSender_TypesWithoutNoticesHaveNone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		sender := s.start(func(c *webhook.Config) { c.Types = []string{"IssuedAPIKeyRevoked"} })
		s.create("k", 7*day+time.Hour)
		s.wait(2 * time.Hour)
		sender.Close()
		sender = s.start() // from now on they are asked for
		s.wait(time.Hour)
		if got := s.receiver.kinds(); got != "" {
			t.Errorf("got %s", got)
		}
		sender.Close()
		s.wait(6*day - 3*time.Hour)
		sender = s.start()
		defer sender.Close()
		s.wait(3 * time.Hour)
		if got := s.receiver.kinds(); got != "key.expiring k\n" {
			t.Errorf("got %s", got)
		}
	})
}
