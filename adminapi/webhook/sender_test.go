package webhook_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/webhook"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

func TestSignature_IsThatOfTheSpecificationsExample(t *testing.T) {
	t.Parallel()
	err := verify("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330",
		"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", []byte(`{"test": 2432232314}`))
	if err != nil {
		t.Error(err)
	}
}

func TestSender_DeliversEachChangeSignedAsTheListOfEventsShowsIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.create("before", 0)
		sender := s.start()
		defer sender.Close()
		s.create("k", 0)
		s.revoke("k")
		s.wait(0)
		all := s.receiver.deliveries()
		if got := s.receiver.kinds(); got != "IssuedAPIKeyCreated k\nIssuedAPIKeyRevoked k\n" {
			t.Fatalf("got %s", got)
		}
		for _, d := range all {
			checkSignature(t, d)
		}
		var message struct {
			Type      string
			Timestamp time.Time
			Data      client.Event
		}
		if err := json.Unmarshal(all[1].body, &message); err != nil {
			t.Fatal(err)
		}
		want := client.Event{
			Position: 3, Time: message.Timestamp, Type: message.Type, KeyID: "k", KeyType: "issued", ActorID: "actor",
			Caller: &client.Caller{Kind: client.CallerSystem}, Reason: "REVOCATION_REASON_UNSPECIFIED",
		}
		got, err := json.Marshal(message.Data)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := json.Marshal(want); string(got) != string(text) {
			t.Errorf("got\n%s\nwant\n%s", got, text)
		}
		if d := all[1]; d.id != "event_feed-of-the-test_3" || d.header.Get("Content-Type") != "application/json" {
			t.Errorf("got %+v", d)
		}
	})
}

// The receiver is away for an hour, in which keys change.
func TestSender_LosesNothingWhenTheReceiverIsDownForAnHour(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		sender := s.start()
		defer sender.Close()
		s.receiver.setDown(true)
		const keys, minutes = 10, 60
		for i := range keys {
			s.create(fmt.Sprint("k", i), 0)
		}
		for range minutes {
			for i := range keys {
				s.rename(fmt.Sprint("k", i))
			}
			s.wait(time.Minute)
		}
		if lag, owner := sender.Lag(); !owner || lag != time.Hour {
			t.Errorf("after an hour the lag is %s", lag)
		}
		// Up to eight lanes: about eight attempts while the wait grows to five minutes, and then one in five minutes.
		if n := s.count(webhook.ResultUnreachable); n < 12 || n > 8*24 {
			t.Errorf("%d attempts in an hour", n)
		}
		if n := len(s.receiver.deliveries()); n != 0 {
			t.Fatalf("%d deliveries while it was down", n)
		}
		s.receiver.setDown(false)
		s.wait(6 * time.Minute)
		checkOrder(t, s.receiver.deliveries(), keys*(minutes+1))
		if n := len(s.receiver.deliveries()); n != keys*(minutes+1) {
			t.Errorf("%d deliveries", n)
		}
		if lag, _ := sender.Lag(); lag != 0 {
			t.Errorf("the lag is %s", lag)
		}
		if at := s.Reader().Position; at != keys*(minutes+1) {
			t.Errorf("the position is %d", at)
		}
		for _, message := range []string{
			"deliveries to a webhook fail: they are tried again until they succeed, as long as the feed keeps the " +
				"events",
			"deliveries to a webhook succeed again",
		} {
			if n := s.logs.FilterMessage(message).Len(); n != 1 {
				t.Errorf("%d log lines: %s", n, message)
			}
		}
	})
}

func TestSender_KeepsTheOrderOfEachKeyUnderFailures(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(s *setup) {
				random := rand.New(rand.NewPCG(seed, 0))
				s.receiver.become(func(w http.ResponseWriter, r *http.Request, d delivery) bool {
					s.receiver.mu.Lock()
					what := random.IntN(6)
					s.receiver.mu.Unlock()
					switch what {
					case 0:
						return refuse(http.StatusInternalServerError)(w, r, d)
					case 1:
						panic(http.ErrAbortHandler)
					case 2: // the delivery arrives, and the answer does not
						time.Sleep(11 * time.Second)
						return true
					default:
						return accept(w, r, d)
					}
				})
				const changes, keys = 120, 12
				sender := s.start()
				for i := range keys {
					s.create(fmt.Sprint("k", i), 0)
				}
				for i := range changes {
					s.rename(fmt.Sprint("k", i*7%keys))
					if i%30 == 29 { // the process is replaced
						sender.Close()
						sender = s.start()
					}
				}
				s.wait(2 * time.Hour)
				sender.Close()
				checkOrder(t, s.receiver.deliveries(), changes+keys)
			})
		})
	}
}

func TestSender_ASlowAnswerIsTriedAgainAndHoldsUpNoOtherKey(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.receiver.become(func(w http.ResponseWriter, r *http.Request, d delivery) bool {
			if d.keyID == "slow" && s.receiver.attempts() <= 1 {
				<-r.Context().Done()
				return false
			}
			return accept(w, r, d)
		})
		sender := s.start()
		defer sender.Close()
		s.create("slow", 0)
		s.wait(time.Second)
		for i := range 30 { // in all lanes, most of them not in that of the slow one
			s.create(fmt.Sprint("k", i), 0)
		}
		s.wait(time.Second)
		if n := len(s.receiver.deliveries()); n < 15 {
			t.Errorf("%d deliveries beside the slow one", n)
		}
		s.wait(time.Minute)
		checkOrder(t, s.receiver.deliveries(), 31)
		if n := s.count(webhook.ResultTimeout); n != 1 {
			t.Errorf("%d attempts timed out", n)
		}
	})
}

func TestSender_AnAnswerThatDoesNotEndIsNotRead(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		written := 0
		s.receiver.become(func(w http.ResponseWriter, _ *http.Request, _ delivery) bool {
			for chunk := make([]byte, 1<<10); ; written += len(chunk) {
				if _, err := w.Write(chunk); err != nil {
					return true
				}
			}
		})
		sender := s.start()
		defer sender.Close()
		s.create("k", 0)
		s.wait(0)
		if n := s.count(webhook.ResultOK); n != 1 {
			t.Errorf("%d deliveries", n)
		}
		if written > 256<<10 {
			t.Errorf("%d bytes were read", written)
		}
	})
}

func TestSender_WaitsAsLongAsTheReceiverAsksButNotForMoreThanAnHour(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "Sat, 01 Jan 2000 00:10:00 GMT": 10 * time.Minute, "86400": time.Hour,
		"nonsense": time.Second, "-5": time.Second,
	} {
		t.Run(asked, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(s *setup) {
				s.receiver.become(func(w http.ResponseWriter, r *http.Request, d delivery) bool {
					if s.receiver.attempts() > 1 {
						return accept(w, r, d)
					}
					w.Header().Set("Retry-After", asked)
					return refuse(http.StatusServiceUnavailable)(w, r, d)
				})
				sender := s.start()
				defer sender.Close()
				s.create("k", 0)
				s.wait(want * 3 / 4)
				if n := s.receiver.attempts(); n != 1 {
					t.Errorf("%d attempts before the time", n)
				}
				s.wait(want / 2)
				if n := len(s.receiver.deliveries()); n != 1 {
					t.Errorf("%d deliveries after it", n)
				}
			})
		})
	}
}

func TestSender_AReceiverThatIsGoneIsLoggedAndAskedSeldom(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.receiver.become(refuse(http.StatusGone))
		sender := s.start()
		defer sender.Close()
		s.create("k", 0)
		s.wait(20 * time.Minute)
		if n := s.receiver.attempts(); n < 4 || n > 6 {
			t.Errorf("%d attempts", n)
		}
		logged := s.logs.FilterMessage("the receiver of a webhook accepts no more deliveries; remove the webhook")
		if n := logged.Len(); n != 1 {
			t.Errorf("%d log lines", n)
		}
	})
}

func TestSender_FollowsNoRedirect(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		inBubble(t, func(s *setup) {
			s.receiver.become(func(w http.ResponseWriter, r *http.Request, _ delivery) bool {
				if r.URL.Path == "/elsewhere" {
					t.Error("the redirect was followed")
				}
				http.Redirect(w, r, "/elsewhere", status)
				return false
			})
			sender := s.start()
			defer sender.Close()
			s.create("k", 0)
			s.wait(0)
			if n := s.count(webhook.ResultRejected); n != 1 {
				t.Errorf("%d attempts were rejected", n)
			}
			if logged := fmt.Sprint(s.logs.All()); !strings.Contains(logged, "redirects are not followed") {
				t.Error("the log does not say why")
			}
		})
	}
}

func TestSender_DeliversTheTypesAndTheNetworkThatWereAskedFor(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		sender := s.start(func(c *webhook.Config) { c.Types = []string{"IssuedAPIKeyRevoked"} })
		defer sender.Close()
		s.create("k", 0)
		s.Append(feed.Event{
			Network: core.NetworkID{1}, KeyID: "foreign", KeyKind: uint8(core.Issued), Kind: feed.EventRevoked,
		})
		s.revoke("k")
		s.create("last", 0)
		s.wait(11 * time.Second) // the lease has been renewed
		if got := s.receiver.kinds(); got != "IssuedAPIKeyRevoked k\n" {
			t.Errorf("got %s", got)
		}
		if at := s.Reader().Position; at != 4 {
			t.Errorf("the position is %d, want 4: what is not delivered is done", at)
		}
	})
}

func TestSender_NoLogHoldsTheSecretOrTheURL(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.receiver.setDown(true)
		sender := s.start()
		s.create("k", 0)
		s.wait(time.Hour)
		s.receiver.setDown(false)
		s.receiver.become(refuse(http.StatusFound))
		s.wait(time.Hour)
		sender.Close()
		if s.logs.Len() == 0 {
			t.Fatal("nothing was logged")
		}
		for _, entry := range s.logs.All() {
			text, err := json.Marshal([]any{entry.Message, entry.ContextMap()})
			if err != nil {
				t.Fatal(err)
			}
			for _, no := range []string{"of-the-url", "/hooks", secret[len("whsec_"):]} {
				if strings.Contains(string(text), no) {
					t.Errorf("the log has %s: %s", no, text)
				}
			}
		}
	})
}
