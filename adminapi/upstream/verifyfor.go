package upstream

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Bounds of the calls for [Remote.VerifyFor]. They come at the clients' rate and their answers are never remembered,
// so whoever holds one key could keep everybody else waiting.
const (
	maxOut        = 16   // calls that are out
	maxCalls      = 1024 // calls that are out or wait
	maxGroupOut   = 8    // calls about one credential that are out
	maxGroupCalls = 64   // calls about one credential that are out or wait
)

// errFull is the answer when there is no room for one more call.
var errFull = unavailable("too many verifications for client addresses are waiting", nil, time.Second)

// verifyForCalls are the calls for [Remote.VerifyFor]. Callers that ask the same at the same time share one; the
// calls about one credential have a bound of their own. A call belongs to none of its waiters, and ends when it has
// none.
type verifyForCalls struct {
	timeout time.Duration
	table   *feed.Positions
	send    func(context.Context, *network, *query, netip.Addr) (*core.Verdict, error)
	out     chan struct{} // holds a token for each call that is out

	detached context.Context //nolint:containedctx // of all calls: close ends it, and no caller does
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu     sync.Mutex // guards what follows, and call.waiters
	closed bool
	calls  map[callKey]*call   // those that may be joined
	groups map[groupKey]*group // of the credentials that there are calls about
	count  int                 // calls that are out or wait
	pace   verify.Pace
}

// groupKey is a network and the digest of a credential.
type groupKey struct {
	network core.NetworkID
	digest  [sha256.Size]byte
}

type callKey struct {
	groupKey
	addr netip.Addr
}

// group is the calls about one credential.
type group struct {
	out   chan struct{} // holds a token for each call that is out, or would be if there was room
	calls int
}

// call is one verification, for all who wait for it.
type call struct {
	began   uint64 // the position before it
	slot    feed.Slot
	waiters int
	cancel  context.CancelFunc

	done    chan struct{} // closed when what follows is set
	verdict *core.Verdict
	err     error
}

func newVerifyForCalls(
	timeout time.Duration, table *feed.Positions,
	send func(context.Context, *network, *query, netip.Addr) (*core.Verdict, error),
) *verifyForCalls {
	v := &verifyForCalls{
		timeout: timeout,
		table:   table,
		send:    send,
		out:     make(chan struct{}, maxOut),
		calls:   make(map[callKey]*call),
		groups:  make(map[groupKey]*group),
	}
	v.detached, v.stop = context.WithCancel(context.Background())
	return v
}

// close cuts calls short and waits for their end.
func (v *verifyForCalls) close() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.stop()
	v.running.Wait()
}

// verify answers a query. A query whose answer is older than the last change of its key is sent again.
func (v *verifyForCalls) verify(ctx context.Context, n *network, q *query, addr netip.Addr) (*core.Verdict, error) {
	const attempts = 3
	k := callKey{groupKey{n.id, sha256.Sum256([]byte(q.credential))}, addr}
	for range attempts {
		if ctx.Err() != nil {
			return nil, errLate(ctx)
		}
		c, err := v.join(k, n, q) //nolint:contextcheck // a call outlives its caller
		if err != nil {
			return nil, err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			v.leave(k, c, errors.Is(ctx.Err(), context.Canceled))
			return nil, errLate(ctx)
		}
		if c.err != nil || c.began >= v.table.At(feed.SlotOf(n.id, c.verdict.KeyID)) {
			return c.verdict, c.err
		}
	}
	return nil, errBehind
}

// join returns a call that is under way and began after the last change of the key, or a new one.
func (v *verifyForCalls) join(k callKey, n *network, q *query) (*call, error) {
	began := v.table.Applied()
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.calls[k]; c != nil && c.began >= v.table.At(c.slot) {
		c.waiters++
		return c, nil
	}
	g := v.groups[k.groupKey]
	switch {
	case v.closed:
		return nil, errClosed
	case v.count >= maxCalls, g != nil && g.calls >= maxGroupCalls:
		return nil, errFull
	case g == nil:
		g = &group{out: make(chan struct{}, maxGroupOut)}
		v.groups[k.groupKey] = g
	}
	v.count++
	g.calls++
	ctx, cancel := context.WithTimeout(v.detached, v.timeout)
	c := &call{
		began: began, slot: feed.SlotOf(n.id, q.parsed.KeyID), waiters: 1, cancel: cancel, done: make(chan struct{}),
	}
	v.calls[k] = c
	v.running.Go(func() {
		defer cancel()
		defer v.end(k, g, c)
		c.verdict, c.err = v.inTurn(ctx, g, n, q, k.addr)
	})
	return c, nil
}

// leave takes a waiter off a call. Without any, and if this one is gone, the call is canceled. It is not because it is
// slow: what hangs has to come to its end, so that the address is known to hang.
func (v *verifyForCalls) leave(k callKey, c *call, gone bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c.waiters--
	if c.waiters > 0 || !gone {
		return
	}
	v.remove(k, c)
	c.cancel()
}

// end gives a call's waiters their answer.
func (v *verifyForCalls) end(k callKey, g *group, c *call) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remove(k, c)
	v.count--
	g.calls--
	if g.calls == 0 {
		delete(v.groups, k.groupKey)
	}
	close(c.done)
}

// remove keeps further callers from joining a call. mu is held.
func (v *verifyForCalls) remove(k callKey, c *call) {
	if v.calls[k] == c {
		delete(v.calls, k)
	}
}

// inTurn sends when its group has room, and then when there is room at all: a call that waits for its group keeps no
// other group waiting. At most half of the time is for the wait, so that each call has the time that it needs.
func (v *verifyForCalls) inTurn(
	ctx context.Context, g *group, n *network, q *query, addr netip.Addr,
) (verdict *core.Verdict, err error) {
	waiting, cancel := context.WithTimeout(ctx, v.timeout/2)
	defer cancel()
	if !acquire(waiting, g.out) {
		return nil, v.late(waiting)
	}
	defer func() { <-g.out }()
	if !acquire(waiting, v.out) {
		return nil, v.late(waiting)
	}
	defer func() { <-v.out }()
	if v.detached.Err() != nil { // waiting ends a moment later
		return nil, errClosed
	}
	if !v.starts() {
		return nil, errTooOften
	}
	defer func() {
		if p := recover(); p != nil {
			// The value may hold anything, a credential too; the trace holds code only.
			err = fmt.Errorf("the call panicked with a %T\n%s", p, debug.Stack())
			verdict, err = nil, unavailable("the upstream cannot say", err, 0)
		}
	}()
	verdict, err = v.send(ctx, n, q, addr)
	v.returned(err)
	return verdict, err
}

// errTooOften is the answer while the upstream's 429 holds calls back.
var errTooOften = unavailable("the upstream is asked too often", nil, time.Second)

// starts reports whether a call may go, and notes that it does.
func (v *verifyForCalls) starts() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if !v.pace.Open(now) {
		return false
	}
	v.pace.Sent(now)
	return true
}

// returned notes how a call ended.
func (v *verifyForCalls) returned(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case err == nil:
		v.pace.Faster()
	case errors.Is(err, verify.ErrThrottled):
		v.pace.Slower(time.Now(), err)
	}
}

// acquire waits for a turn. It returns false when ctx ends, or has.
func acquire(ctx context.Context, turns chan struct{}) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case turns <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// late is why a call had no turn.
func (v *verifyForCalls) late(ctx context.Context) error {
	if v.detached.Err() != nil {
		return errClosed
	}
	return errLate(ctx)
}
