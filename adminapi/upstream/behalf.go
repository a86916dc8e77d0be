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

// Bounds of what is asked on behalf of addresses. It is asked at the rate at which clients come and is never
// remembered, so that whoever holds one key could keep everybody else waiting.
const (
	maxBehalf  = 16   // inquiries that are out
	maxWaiting = 1024 // inquiries that are out or wait
	maxShare   = 8    // of one credential that are out
	maxCrowd   = 64   // of one credential that are out or wait
)

// errCrowd is the answer when there is no room for one more inquiry.
var errCrowd = unavailable("too many verifications on behalf of addresses are waiting", nil, time.Second)

// behalf asks on behalf of addresses. Who asks the same at the same time shares the answer; a credential has its share
// of the calls and no more. An inquiry belongs to none of those who wait for it, and ends when nobody does.
type behalf struct {
	timeout time.Duration
	table   *feed.Positions
	call    func(context.Context, *network, question, netip.Addr) (*core.Verdict, error)
	out     chan struct{} // holds a token for each inquiry that is out

	detached context.Context //nolint:containedctx // of all inquiries: it ends with behalf and belongs to no caller
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu        sync.Mutex // guards what follows, and inquiry.waiters
	closed    bool
	inquiries map[inquiryKey]*inquiry // those that may be joined
	crowds    map[crowdKey]*crowd     // those of credentials that something is asked about
	waiting   int                     // inquiries that are out or wait
	pace      verify.Pace
}

// crowdKey is a credential in a network; it is told by its digest.
type crowdKey struct {
	network core.NetworkID
	digest  [sha256.Size]byte
}

type inquiryKey struct {
	crowdKey
	addr netip.Addr
}

// crowd is what is asked about one credential.
type crowd struct {
	out       chan struct{} // holds a token for each inquiry that is out, or would be if there was room
	inquiries int
}

// inquiry is one question, for all who wait for it.
type inquiry struct {
	began   uint64 // the position before it
	slot    feed.Slot
	waiters int
	cancel  context.CancelFunc

	done    chan struct{} // closed when what follows is set
	verdict *core.Verdict
	err     error
}

func newBehalf(
	timeout time.Duration, table *feed.Positions,
	call func(context.Context, *network, question, netip.Addr) (*core.Verdict, error),
) *behalf {
	b := &behalf{
		timeout:   timeout,
		table:     table,
		call:      call,
		out:       make(chan struct{}, maxBehalf),
		inquiries: make(map[inquiryKey]*inquiry),
		crowds:    make(map[crowdKey]*crowd),
	}
	b.detached, b.stop = context.WithCancel(context.Background())
	return b
}

// close cuts inquiries short and waits for their end.
func (b *behalf) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.running.Wait()
}

// ask has a question answered. An answer that is older than the last change of its key is asked for again.
func (b *behalf) ask(ctx context.Context, n *network, q question, addr netip.Addr) (*core.Verdict, error) {
	const attempts = 3
	k := inquiryKey{crowdKey{n.id, sha256.Sum256([]byte(q.credential))}, addr}
	for range attempts {
		if ctx.Err() != nil {
			return nil, errLate(ctx)
		}
		i, err := b.join(k, n, q) //nolint:contextcheck // an inquiry outlives its caller
		if err != nil {
			return nil, err
		}
		select {
		case <-i.done:
		case <-ctx.Done():
			b.leave(k, i, errors.Is(ctx.Err(), context.Canceled))
			return nil, errLate(ctx)
		}
		if i.err != nil || i.began >= b.table.At(feed.SlotOf(n.id, i.verdict.KeyID)) {
			return i.verdict, i.err
		}
	}
	return nil, errBehind
}

// join returns an inquiry that is under way and began after the last change of the key, or a new one.
func (b *behalf) join(k inquiryKey, n *network, q question) (*inquiry, error) {
	began := b.table.Applied()
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.inquiries[k]; i != nil && i.began >= b.table.At(i.slot) {
		i.waiters++
		return i, nil
	}
	c := b.crowds[k.crowdKey]
	switch {
	case b.closed:
		return nil, errClosed
	case b.waiting >= maxWaiting, c != nil && c.inquiries >= maxCrowd:
		return nil, errCrowd
	case c == nil:
		c = &crowd{out: make(chan struct{}, maxShare)}
		b.crowds[k.crowdKey] = c
	}
	b.waiting++
	c.inquiries++
	ctx, cancel := context.WithTimeout(b.detached, b.timeout)
	i := &inquiry{
		began: began, slot: feed.SlotOf(n.id, q.parsed.KeyID), waiters: 1, cancel: cancel, done: make(chan struct{}),
	}
	b.inquiries[k] = i
	b.running.Go(func() {
		defer cancel()
		defer b.end(k, c, i)
		i.verdict, i.err = b.inTurn(ctx, c, n, q, k.addr)
	})
	return i, nil
}

// leave ends an inquiry that nobody waits for any more, but not because of its own slowness: what hangs has to come to
// its end, so that the address is known to hang.
func (b *behalf) leave(k inquiryKey, i *inquiry, gone bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i.waiters--
	if i.waiters > 0 || !gone {
		return
	}
	b.forget(k, i)
	i.cancel()
}

// end gives those who wait for an inquiry their answer.
func (b *behalf) end(k inquiryKey, c *crowd, i *inquiry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(k, i)
	b.waiting--
	c.inquiries--
	if c.inquiries == 0 {
		delete(b.crowds, k.crowdKey)
	}
	close(i.done)
}

// forget makes that nobody joins an inquiry any more. mu is held.
func (b *behalf) forget(k inquiryKey, i *inquiry) {
	if b.inquiries[k] == i {
		delete(b.inquiries, k)
	}
}

// inTurn calls when it is the turn of the credential, and then of the call: one that waits for its credential's share
// keeps no other credential's call waiting. Half of the time is for the wait, so that each call has the time it needs.
func (b *behalf) inTurn(
	ctx context.Context, c *crowd, n *network, q question, addr netip.Addr,
) (v *core.Verdict, err error) {
	waiting, cancel := context.WithTimeout(ctx, b.timeout/2)
	defer cancel()
	if !acquire(waiting, c.out) {
		return nil, b.late(waiting)
	}
	defer func() { <-c.out }()
	if !acquire(waiting, b.out) {
		return nil, b.late(waiting)
	}
	defer func() { <-b.out }()
	if b.detached.Err() != nil { // of which the end of waiting follows in a moment
		return nil, errClosed
	}
	if !b.starts() {
		return nil, errTooOften
	}
	defer func() {
		if p := recover(); p != nil {
			// The value may hold anything, a credential too; the trace holds code only.
			err = fmt.Errorf("the call panicked with a %T\n%s", p, debug.Stack())
			v, err = nil, unavailable("the upstream cannot say", err, 0)
		}
	}()
	v, err = b.call(ctx, n, q, addr)
	b.returned(err)
	return v, err
}

// errTooOften is the answer while the upstream's 429 holds calls back.
var errTooOften = unavailable("the upstream is asked too often", nil, time.Second)

// starts tells whether a call may go, and notes that it does.
func (b *behalf) starts() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if !b.pace.Open(now) {
		return false
	}
	b.pace.Sent(now)
	return true
}

// returned notes how a call ended.
func (b *behalf) returned(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.pace.Faster()
	case errors.Is(err, verify.ErrThrottled):
		b.pace.Slower(time.Now(), err)
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

// late is why an inquiry had no turn.
func (b *behalf) late(ctx context.Context) error {
	if b.detached.Err() != nil {
		return errClosed
	}
	return errLate(ctx)
}
