package webhook_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/webhook"
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

func TestSender_NoNoticeIsLostWhenTheReceiverIsDown(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		const keys = 250 // three pages
		for i := range keys {
			s.create(fmt.Sprintf("k%03d", i), 7*day+time.Minute)
		}
		s.create("revoked", 7*day+time.Minute)
		sender := s.start(onlyNotices)
		defer sender.Close()
		s.receiver.setDown(true)
		s.wait(time.Hour + time.Minute)
		if lag, _ := sender.Lag(); lag < 59*time.Minute || lag > time.Hour {
			t.Errorf("the lag is %s", lag)
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
