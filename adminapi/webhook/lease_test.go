package webhook_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/adminapi/webhook"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// process is the database as a process sees it that can be cut off from writing to it, as by a crash.
type process struct {
	*apitest.Store
	cut     atomic.Bool
	highest atomic.Uint64 // the position after which the feed was read
	unread  atomic.Bool   // the feed cannot be read
	saves   atomic.Int64  // how often the position was saved
}

func (p *process) SaveReader(ctx context.Context, c core.ReaderClaim, at core.FeedReader) error {
	if p.cut.Load() {
		return core.NewError(core.Unavailable, "cut off")
	}
	p.saves.Add(1)
	return p.Store.SaveReader(ctx, c, at)
}

func (p *process) ClaimReader(ctx context.Context, c core.ReaderClaim) (core.FeedReader, error) {
	if p.cut.Load() {
		return core.FeedReader{}, core.NewError(core.Unavailable, "cut off")
	}
	return p.Store.ClaimReader(ctx, c)
}

func (p *process) Events(ctx context.Context, after uint64, limit int) (feed.Page, error) {
	p.highest.Store(max(p.highest.Load(), after))
	if p.unread.Load() {
		return feed.Page{}, core.NewError(core.Unavailable, "the disk is full")
	}
	return p.Store.Events(ctx, after, limit)
}

// of makes a sender that of a process.
func (p *process) of(c *webhook.Config) { c.Store = p }

// A crash between a delivery and the saving of its position: another process delivers again, under the same id.
func TestSender_AfterACrashWhatWasNotSavedIsDeliveredAgainUnderTheSameID(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		crashed := &process{Store: s.Store}
		first := s.start(crashed.of)
		s.create("k", 0)
		s.wait(time.Second)
		crashed.cut.Store(true)
		s.rename("k")
		s.wait(time.Second)
		first.Close()
		if n := len(s.receiver.deliveries()); n != 2 {
			t.Fatalf("%d deliveries", n)
		}
		second := s.start()
		defer second.Close()
		s.wait(31 * time.Second)
		all := s.receiver.deliveries()
		if len(all) != 3 || all[2].id != all[1].id || string(all[2].body) != string(all[1].body) {
			t.Fatalf("got %s", s.receiver.kinds())
		}
		checkSignature(t, all[2])
		checkOrder(t, all, 2)
	})
}

func TestSender_OneProcessDeliversAtATimeAndHandsOverWhenItCloses(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		first := s.start()
		second := s.start()
		defer second.Close()
		s.create("a", 0)
		for range 100 {
			s.wait(time.Second)
			_, one := first.Lag()
			if _, two := second.Lag(); !one || two {
				t.Fatalf("the first process delivers: %v, the second: %v", one, two)
			}
		}
		first.Close()
		s.create("b", 0)
		s.wait(time.Second)
		if got := s.receiver.kinds(); got != "IssuedAPIKeyCreated a\nIssuedAPIKeyCreated b\n" {
			t.Errorf("got %s", got)
		}
		if _, owner := second.Lag(); !owner {
			t.Error("the second process does not deliver")
		}
	})
}

// A process that cannot renew its lease stops before another one may begin.
func TestSender_AProcessThatLosesTheDatabaseStopsBeforeAnotherOneTakesOver(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		lost := &process{Store: s.Store}
		first := s.start(lost.of)
		defer first.Close()
		second := s.start()
		defer second.Close()
		s.wait(time.Minute)
		s.receiver.become(refuse(http.StatusInternalServerError))
		s.create("k", 0)
		lost.cut.Store(true)
		both, delivered := false, false
		for range 45 {
			s.wait(time.Second)
			_, one := first.Lag()
			_, two := second.Lag()
			both, delivered = both || one && two, delivered || two
		}
		if both {
			t.Error("both delivered at once")
		}
		if !delivered {
			t.Error("the second process did not take over")
		}
		s.receiver.become(accept)
		s.wait(time.Minute)
		checkOrder(t, s.receiver.deliveries(), 1)
	})
}

func TestSender_ClosesAtOnceWhileTheReceiverHangs(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.receiver.become(func(_ http.ResponseWriter, r *http.Request, _ delivery) bool {
			<-r.Context().Done()
			return false
		})
		sender := s.start()
		s.create("k", 0)
		s.wait(time.Second)
		began := time.Now()
		sender.Close()
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
	})
}

func TestSender_BeginsWhenTheDatabaseAnswersAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.SetDown(core.NewError(core.Unavailable, "the disk is full"))
		sender := s.start()
		defer sender.Close()
		s.wait(time.Minute)
		s.SetDown(nil)
		s.wait(time.Second)
		s.create("a", 0)
		s.wait(time.Second)
		s.SetDown(core.NewError(core.Unavailable, "the disk is full"))
		s.wait(time.Hour)
		s.SetDown(nil)
		s.create("b", 0)
		s.wait(2 * time.Second)
		if got := s.receiver.kinds(); got != "IssuedAPIKeyCreated a\nIssuedAPIKeyCreated b\n" {
			t.Errorf("got %s", got)
		}
	})
}

func TestSender_ReportsNoLagWhileTheFeedCannotBeRead(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		p := &process{Store: s.Store}
		sender := s.start(p.of)
		defer sender.Close()
		p.unread.Store(true)
		s.create("k", 0)
		s.wait(time.Minute)
		if lag, known := sender.Lag(); known {
			t.Errorf("the lag is %s", lag)
		}
		p.unread.Store(false)
		s.wait(2 * time.Second)
		if lag, known := sender.Lag(); !known || lag != 0 || len(s.receiver.deliveries()) != 1 {
			t.Errorf("the lag is %s, %d deliveries", lag, len(s.receiver.deliveries()))
		}
	})
}

func TestSender_SavesNoPositionForEachChangeThatIsNotDelivered(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		p := &process{Store: s.Store}
		sender := s.start(p.of, func(c *webhook.Config) { c.Types = []string{"IssuedAPIKeyRevoked"} })
		defer sender.Close()
		s.create("k", 0)
		for range 60 {
			s.rename("k")
			s.wait(time.Second)
		}
		if n := p.saves.Load(); n > 7 {
			t.Errorf("the position was saved %d times in a minute", n)
		}
		if at := s.Reader().Position; at < 50 {
			t.Errorf("the position is %d", at)
		}
	})
}

// countedConn counts itself in a number while it is open.
type countedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

func TestSender_AReceiverThatDoesNotAnswerTheHandshakeHoldsNoConnection(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		var open atomic.Int64
		sender := s.start(func(c *webhook.Config) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) {
				near, _ := net.Pipe() // nobody reads at the other end
				open.Add(1)
				return &countedConn{Conn: near, open: &open}, nil
			}
		})
		defer sender.Close()
		s.create("k", 0)
		s.wait(time.Hour)
		if n := s.count(webhook.ResultTimeout); n < 10 {
			t.Errorf("%d attempts timed out", n)
		}
		if n := open.Load(); n > 1 {
			t.Errorf("%d connections are open", n)
		}
	})
}

func TestSender_ReadsNoFurtherAheadThanAThousandEvents(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		p := &process{Store: s.Store}
		s.receiver.setDown(true)
		sender := s.start(p.of)
		defer sender.Close()
		const keys = 25 // in all lanes
		for i := range keys {
			s.create(fmt.Sprint("k", i), 0)
		}
		for i := range 2500 {
			s.rename(fmt.Sprint("k", i%keys))
		}
		s.wait(time.Minute)
		if at := p.highest.Load(); at > 1000 {
			t.Errorf("it has read up to %d", at)
		}
		s.receiver.setDown(false)
		s.wait(10 * time.Minute)
		checkOrder(t, s.receiver.deliveries(), 2500+keys)
	})
}

func TestSender_CountsWhatTheFeedDoesNotKeepAnyMoreAndGoesOn(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.receiver.setDown(true)
		sender := s.start()
		defer sender.Close()
		s.create("k", 0)
		for range 1500 {
			s.rename("k")
		}
		s.wait(time.Minute)
		if _, err := s.PruneEvents(t.Context(), time.Time{}, 10); err != nil {
			t.Fatal(err)
		}
		s.receiver.setDown(false)
		// The event that was being delivered is tried once more and succeeds; those behind it are gone or are sent.
		s.wait(10 * time.Minute)
		s.create("l", 0)
		s.wait(time.Second)
		all := s.receiver.deliveries()
		if last := all[len(all)-1]; last.keyID != "l" {
			t.Errorf("the last one is %+v", last)
		}
		if dropped := s.count(webhook.ResultDropped); dropped < 480 || dropped+len(all) != 1502 {
			t.Errorf("%d were dropped, and %d delivered", dropped, len(all))
		}
		if s.logs.FilterMessageSnippet("the feed does not keep them any more").Len() != 1 {
			t.Error("the log says nothing")
		}
		checkOrder(t, all, len(all))
	})
}

func TestSender_AnEventThatIsRefusedEndsWhenTheFeedDropsIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		s.receiver.become(func(w http.ResponseWriter, r *http.Request, d delivery) bool {
			if d.kind == "IssuedAPIKeyCreated" {
				return refuse(http.StatusBadRequest)(w, r, d)
			}
			return accept(w, r, d)
		})
		sender := s.start()
		defer sender.Close()
		s.create("k", 0)
		s.rename("k")
		s.wait(2 * time.Hour)
		if n := len(s.receiver.deliveries()); n != 0 {
			t.Fatalf("%d deliveries: the order was not kept", n)
		}
		if _, err := s.PruneEvents(t.Context(), time.Time{}, 1); err != nil {
			t.Fatal(err)
		}
		s.wait(10 * time.Minute)
		if got := s.receiver.kinds(); got != "IssuedAPIKeyUpdated k\n" {
			t.Errorf("got %s", got)
		}
		if n := s.count(webhook.ResultDropped); n != 1 {
			t.Errorf("%d were dropped", n)
		}
	})
}

func TestSender_DoesNotCountThePositionsThatARestoredDatabasePassesOver(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]int{"the mark is kept": 2, "it is not": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(s *setup) {
				s.start().Close()
				s.create("a", 0)
				s.Restore(1 << 50)
				s.create("b", 0)
				if _, err := s.PruneEvents(t.Context(), time.Time{}, keep); err != nil {
					t.Fatal(err)
				}
				sender := s.start()
				defer sender.Close()
				s.wait(time.Second)
				if got := s.receiver.kinds(); got != "IssuedAPIKeyCreated b\n" {
					t.Errorf("got %s", got)
				}
				if n := s.count(webhook.ResultDropped); n != 0 {
					t.Errorf("%d events are counted as dropped", n)
				}
				if s.logs.Len() != 1 {
					t.Errorf("logged %v", s.logs.All())
				}
			})
		})
	}
}

func TestSender_PassesOverTheMarkOfARestoredDatabase(t *testing.T) {
	t.Parallel()
	inBubble(t, func(s *setup) {
		sender := s.start()
		defer sender.Close()
		s.create("a", 0)
		s.wait(time.Second)
		s.Append(feed.Event{Kind: feed.EventRestored})
		s.create("b", 0)
		s.wait(time.Second)
		if got := s.receiver.kinds(); got != "IssuedAPIKeyCreated a\nIssuedAPIKeyCreated b\n" {
			t.Errorf("got %s", got)
		}
		if s.logs.Len() != 1 {
			t.Errorf("logged %v", s.logs.All())
		}
	})
}
