package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/verify"
)

// fakeUpstream answers calls when it is told to.
type fakeUpstream struct {
	mu    sync.Mutex
	calls []string
	ended int
	turn  chan struct{} // one value lets one call return; closed: all
}

func (c *fakeUpstream) call(ctx context.Context, _ *network, q *query, addr netip.Addr) (*core.Verdict, error) {
	c.mu.Lock()
	c.calls = append(c.calls, q.credential+" from "+addr.String())
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.ended++
		c.mu.Unlock()
	}()
	if q.credential == "boom" {
		panic(q.credential)
	}
	select {
	case <-c.turn:
		return &core.Verdict{KeyID: q.parsed.KeyID, ActorID: q.credential + addr.String()}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// made returns how many calls were made and how many of them are out.
func (c *fakeUpstream) made() (calls, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls), len(c.calls) - c.ended
}

// withCalls runs a test over calls that a fake upstream answers.
func withCalls(t *testing.T, test func(t bubble, b *verifyForCalls, c *fakeUpstream, table *feed.Positions)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &fakeUpstream{turn: make(chan struct{})}
		table := new(feed.Positions)
		b := newVerifyForCalls(2*time.Second, table, c.call)
		defer func() {
			b.close()
			if len(b.calls) != 0 || len(b.groups) != 0 || b.count != 0 || len(b.out) != 0 {
				t.Errorf("left behind: %+v", b)
			}
		}()
		test(bubble{t}, b, c, table)
	})
}

func from(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

// about is the query for a credential that is its own key id.
func about(cred string) *query {
	return &query{credential: cred, parsed: credential.Parsed{KeyID: cred}}
}

type said struct {
	verdict *core.Verdict
	err     error
}

// start verifies in the background.
func (b *verifyForCalls) start(ctx context.Context, id core.NetworkID, cred string, addr netip.Addr) <-chan said {
	answer := make(chan said, 1)
	go func() {
		v, err := b.verify(ctx, &network{id: id}, about(cred), addr)
		answer <- said{v, err}
	}()
	return answer
}

func TestAttack08_EqualVerifyForAtTheSameTimeIsOneCall(t *testing.T) {
	t.Parallel()
	withCalls(t, func(t bubble, b *verifyForCalls, c *fakeUpstream, _ *feed.Positions) {
		other := core.NetworkID{1}
		var answers []<-chan said
		for range 500 {
			answers = append(answers, b.start(t.Context(), core.NetworkID{}, "a", from(1)))
		}
		second := b.start(t.Context(), core.NetworkID{}, "a", from(2))
		third := b.start(t.Context(), core.NetworkID{}, "b", from(1))
		fourth := b.start(t.Context(), other, "a", from(1))
		synctest.Wait()
		if n, _ := c.made(); n != 4 {
			t.Errorf("%d calls for 4 queries", n)
		}
		close(c.turn)
		for _, a := range answers {
			if got := <-a; got.err != nil || got.verdict.ActorID != "a10.0.0.1" {
				t.Fatalf("got %+v", got)
			}
		}
		a, z, x := <-second, <-third, <-fourth
		if a.verdict.ActorID != "a10.0.0.2" || z.verdict.ActorID != "b10.0.0.1" || x.err != nil {
			t.Errorf("got %+v, %+v, %+v", a, z, x)
		}
		if got := <-b.start(t.Context(), core.NetworkID{}, "a", from(1)); got.err != nil {
			t.Fatal(got.err)
		}
		if n, _ := c.made(); n != 5 {
			t.Error("an answer was remembered")
		}
	})
}

func TestAttack08_OneCredentialFromEverywhereLeavesRoom(t *testing.T) {
	t.Parallel()
	withCalls(t, func(t bubble, b *verifyForCalls, c *fakeUpstream, _ *feed.Positions) {
		var flood []<-chan said
		for i := range 1000 {
			flood = append(flood, b.start(t.Context(), core.NetworkID{}, "flood", from(i)))
		}
		synctest.Wait()
		if _, out := c.made(); out != maxGroupOut {
			t.Errorf("%d calls are out for one credential", out)
		}
		refused := 0
		for _, a := range flood {
			select {
			case got := <-a:
				e, ok := errors.AsType[*core.Error](got.err)
				if !ok || e.Reason != core.Unavailable || e.RetryAfter == 0 {
					t.Errorf("got %+v", got)
				}
				refused++
			default:
			}
		}
		if refused != 1000-maxGroupCalls {
			t.Errorf("%d were refused at once", refused)
		}
		before, _ := c.made()
		for i := range maxOut / 2 {
			b.start(t.Context(), core.NetworkID{}, fmt.Sprint("other", i), from(1))
		}
		synctest.Wait()
		if after, _ := c.made(); after-before != maxOut/2 {
			t.Errorf("%d calls for others: they wait for its group", after-before)
		}
		close(c.turn)
	})
}

func TestVerifyForCallsThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	withCalls(t, func(t bubble, b *verifyForCalls, c *fakeUpstream, _ *feed.Positions) {
		for i := range maxCalls {
			b.start(t.Context(), core.NetworkID{}, strconv.Itoa(i), from(1))
		}
		synctest.Wait()
		if got := <-b.start(t.Context(), core.NetworkID{}, "one more", from(1)); !errors.Is(got.err, errFull) {
			t.Errorf("got %+v", got)
		}
		if _, out := c.made(); out != maxOut {
			t.Errorf("%d calls are out", out)
		}
		close(c.turn)
		synctest.Wait()
		if got := <-b.start(t.Context(), core.NetworkID{}, "one more", from(1)); got.err != nil {
			t.Errorf("got %+v", got)
		}
	})
}

func TestACallEndsWhenNobodyWaitsForItAndNotBefore(t *testing.T) {
	t.Parallel()
	withCalls(t, func(t bubble, b *verifyForCalls, c *fakeUpstream, _ *feed.Positions) {
		one, leaveOne := context.WithCancel(t.Context())
		two, leaveTwo := context.WithCancel(t.Context())
		first := b.start(one, core.NetworkID{}, "a", from(1))
		second := b.start(two, core.NetworkID{}, "a", from(1))
		synctest.Wait()
		leaveOne()
		if got := <-first; core.ReasonOf(got.err) != core.DeadlineExceeded {
			t.Errorf("got %+v", got)
		}
		synctest.Wait()
		if _, out := c.made(); out != 1 {
			t.Error("it ended with the first of two")
		}
		leaveTwo()
		<-second
		synctest.Wait()
		if _, out := c.made(); out != 0 {
			t.Error("it goes on for nobody")
		}
		third := b.start(t.Context(), core.NetworkID{}, "a", from(1))
		synctest.Wait()
		c.turn <- struct{}{}
		if got := <-third; got.err != nil {
			t.Errorf("got %+v", got)
		}
	})
}

func TestACallThatHangsIsNotCutShortByTheDeadlineOfWhoWaits(t *testing.T) {
	t.Parallel()
	withCalls(t, func(t bubble, b *verifyForCalls, c *fakeUpstream, _ *feed.Positions) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := <-b.start(ctx, core.NetworkID{}, "a", from(1)); !errors.Is(got.err, errTimeout) {
			t.Errorf("got %+v", got)
		}
		synctest.Wait()
		if _, out := c.made(); out != 1 {
			t.Error("it was cut short")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if _, out := c.made(); out != 0 {
			t.Error("it has no end")
		}
	})
}

func TestAttack05_ACallFromBeforeAChangeAnswersNobodyAfterIt(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{"a key": "a", "a token, whose key only the answer tells": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			withCalls(t, func(t bubble, b *verifyForCalls, c *fakeUpstream, table *feed.Positions) {
				b.send = func(ctx context.Context, n *network, q *query, addr netip.Addr) (*core.Verdict, error) {
					v, err := c.call(ctx, n, q, addr)
					if v != nil {
						v.KeyID = "a"
					}
					return v, err
				}
				ask := func() <-chan said {
					answer := make(chan said, 1)
					go func() {
						q := &query{credential: "a", parsed: credential.Parsed{KeyID: key}}
						v, err := b.verify(t.Context(), &network{}, q, from(1))
						answer <- said{v, err}
					}()
					synctest.Wait()
					return answer
				}
				first := ask()
				table.Apply(feed.Event{Position: 1, KeyID: "a"})
				second := ask()
				c.turn <- struct{}{} // the first call ends, too old; who waited for it joins the second
				synctest.Wait()
				close(c.turn)
				<-first
				<-second
				if n, _ := c.made(); n < 2 || key != "" && n > 2 {
					t.Errorf("%d calls", n)
				}
			})
		})
	}
}

func TestAPanicInAVerifyForCallIsAnErrorWithoutItsText(t *testing.T) {
	t.Parallel()
	withCalls(t, func(t bubble, b *verifyForCalls, _ *fakeUpstream, _ *feed.Positions) {
		got := <-b.start(t.Context(), core.NetworkID{}, "boom", from(1))
		if core.ReasonOf(got.err) != core.Unavailable ||
			strings.Contains(fmt.Sprint(got.err, errors.Unwrap(got.err)), "boom") {
			t.Errorf("got %+v", got)
		}
	})
}

func TestVerifyForAsksNothingAfterTheEnd(t *testing.T) {
	t.Parallel()
	withCalls(t, func(t bubble, b *verifyForCalls, c *fakeUpstream, _ *feed.Positions) {
		var waiting []<-chan said
		for i := range maxGroupCalls {
			waiting = append(waiting, b.start(t.Context(), core.NetworkID{}, "a", from(i)))
		}
		synctest.Wait()
		b.close()
		waiting = append(waiting, b.start(t.Context(), core.NetworkID{}, "b", from(1)))
		for _, a := range waiting {
			if got := <-a; got.err == nil {
				t.Errorf("got %+v", got)
			}
		}
		if n, _ := c.made(); n != maxGroupOut {
			t.Errorf("%d calls", n)
		}
	})
}

func TestAttack08_VerifyForCallsThatHangKeepNoLookUpWaiting(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	release := make(chan struct{})
	s.fault = func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		if strings.HasSuffix(r.URL.Path, ":verify") {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		return false
	}
	u, _ := open(t, nil, serve(t, s, "").URL)
	var hanging sync.WaitGroup
	for i := range 4 {
		cred, _ := s.add(t, nil)
		for j := range maxGroupOut {
			hanging.Go(func() {
				if _, err := u.VerifyFor(t.Context(), core.NetworkID{}, cred, from(i*maxGroupOut+j)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	eventually(t, "they hang", func() bool { return len(s.calls(client.VerifyPath)) == maxOut })
	cred, _ := s.add(t, nil)
	v := verifying(t, u, verify.Config{})
	r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
	if err != nil || r.Verdict.Code != core.CodeValid {
		t.Errorf("a cold key: got %+v, %v", r, err)
	}
	close(release)
	hanging.Wait()
}

func TestVerifyForRefusesAnUnknownAddressWithoutACall(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	cred, _ := s.add(t, nil)
	u, _ := open(t, nil, serve(t, s, "").URL)
	v, err := u.VerifyFor(t.Context(), core.NetworkID{}, cred, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	if v.Code != core.CodeIPNotAllowed {
		t.Errorf("got %+v", v)
	}
	if n := len(s.calls("")); n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
}
