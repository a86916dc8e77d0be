package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// ErrClosed is the answer of a verifier that was closed. Its reason is [core.Unavailable].
var ErrClosed error = core.NewError(core.Unavailable, "the verifier is closed")

// Verifier answers what is known about the key behind a credential. All methods may be called from any goroutine.
type Verifier struct {
	config    Config
	source    Source
	positions *feed.Positions
	hash      hasher
	base      time.Time // of the steady clock
	cache     *cache    // nil: off
	counters  counters
	closed    atomic.Bool

	// What follows is used on misses.
	running sync.WaitGroup // look-ups, and calls of the source
	lateAt  atomic.Uint32  // when the last call ended that ran out of time, as entry.failed; 0: a later one did not

	call       func(batch []*lookup) // of the source, in a goroutine of its own
	background context.Context       //nolint:containedctx // of calls that nobody waits for; ends at Close
	stop       context.CancelFunc
	closing    sync.Once

	mu       sync.Mutex
	lookups  map[digest]*lookup // look-ups that may be shared
	queue    queue
	took     time.Duration // by a call of the source, on average
	calm     time.Time     // when no more waited than the next calls take
	resume   *time.Timer   // of what the pace of calls delays
	stopping bool          // no look-up begins any more
}

// New makes a verifier over a source. The caller closes it.
func New(config Config, source Source) (*Verifier, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	if source == nil || source.Positions() == nil {
		return nil, errors.New("verify: a source with positions is needed")
	}
	limits, err := limitsOf(source)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	v := &Verifier{
		config:    config,
		source:    source,
		positions: source.Positions(),
		hash:      newHasher(),
		base:      feed.Epoch,
		lookups:   make(map[digest]*lookup),
		queue:     newQueue(limits, config.MaxWaiting),
	}
	v.resume = time.AfterFunc(config.LookupTimeout, v.resumed)
	v.resume.Stop()
	if !config.Off {
		if v.cache, err = newCache(config.MaxBytes); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	v.background, v.stop = context.WithCancel(context.Background())
	v.call = v.startCall
	return v, nil
}

// Close ends the verifier: refreshes in the background are cut short, look-ups that callers wait for come to their end
// and are answered, the cache is emptied. Calls that come later get [ErrClosed]. Close may be called more than once; it
// returns when everything has ended.
func (v *Verifier) Close() {
	v.closing.Do(func() {
		v.mu.Lock()
		v.stopping = true
		for _, l := range v.lookups {
			if l.background && l.place != nil {
				v.finish(l, outcome{err: ErrClosed})
			}
		}
		v.mu.Unlock()
		v.closed.Store(true)
		v.stop()
		v.running.Wait()
		v.resume.Stop()
		if v.cache != nil {
			v.cache.close()
		}
	})
}

// Cached returns what memory knows about the key behind a credential, and whether it knows anything that may be used
// now. It costs no allocation for credentials of up to about 2,000 bytes.
func (v *Verifier) Cached(network core.NetworkID, credential string) (Result, bool) {
	if v.cache == nil || v.closed.Load() {
		return Result{}, false
	}
	d := v.hash.of(network, credential)
	c := v.clock()
	if !v.positions.Current(c.steady, c.wall) {
		return Result{}, false
	}
	r := v.remembered(&d, network, credential, &c)
	return r, r.Verdict != nil
}

// Verify returns what is known about the key behind a credential, from memory or by a look-up. See [WithClient] for the
// context. An error is a [core.Error] with reason [core.Unavailable] or, when ctx or the source ran out of time,
// [core.DeadlineExceeded]: it is no verdict about the credential.
func (v *Verifier) Verify(
	ctx context.Context, network core.NetworkID, credential string, mode Mode,
) (Result, error) {
	d := v.hash.of(network, credential)
	if mode == Use && !v.closed.Load() && v.cache != nil {
		c := v.clock()
		if !v.positions.Current(c.steady, c.wall) {
			if err := v.catchUp(ctx, &c); err != nil {
				return v.failed(err)
			}
		}
		// What was caught up with is enough for this request, also when the lease has ended again meanwhile.
		if r := v.remembered(&d, network, credential, &c); r.Verdict != nil {
			return r, nil
		}
	}
	return v.verifyOne(ctx, d, network, credential, mode)
}

// remembered answers from the cache. The result is empty when a look-up is needed.
func (v *Verifier) remembered(d *digest, network core.NetworkID, credential string, c *clock) Result {
	if e := v.cache.get(v.cache.good, d); e != nil && v.upToDate(e) && v.fresh(e, network, credential, c) {
		if n := v.counters.answers[Hit].Add(1); n%16 == 0 {
			v.cache.lookUp(v.cache.good, d) // so that ristretto counts what the hot table answers
		}
		v.hit(e, c)
		return Result{Verdict: &e.verdict, Position: e.position, Now: c.now, Cache: Hit}
	}
	if e := v.cache.get(v.cache.bad, d); e != nil && v.upToDate(e) && e.age(c) < e.ttl {
		v.counters.answers[Negative].Add(1)
		return Result{Verdict: &e.verdict, Position: e.position, Now: c.now, Cache: Negative}
	}
	return Result{}
}

// fresh reports whether a good entry is within its lifetime. One that is asked for in the last fifth of it is
// refreshed.
func (v *Verifier) fresh(e *entry, network core.NetworkID, credential string, c *clock) bool {
	last := e.ttl / 5
	if e.age(c) < e.ttl-last {
		return true // whatever the table of positions says: that could only lengthen the lifetime
	}
	left := e.left(c, v.positions.CompleteAt())
	if left > 0 && left <= last && e.failed.Load() == 0 {
		v.refresh(e, network, credential)
	}
	return left > 0
}

// upToDate reports whether no change of the entry's key was applied after its look-up began.
func (v *Verifier) upToDate(e *entry) bool { return e.position >= v.positions.At(e.slot) }

// verifyOne answers a request that the cache has no answer for.
func (v *Verifier) verifyOne(
	ctx context.Context, d digest, network core.NetworkID, credential string, mode Mode,
) (Result, error) {
	q := &query{
		Query:  Query{Network: network, Credential: credential},
		digest: d,
		mode:   v.effective(mode),
	}
	if v.prepare(q) {
		v.lookUp(ctx, network, []*query{q})
	}
	v.count(&q.result)
	return q.result, q.result.Err
}

// effective is what a mode comes to: without a cache nothing is cached and nothing shared.
func (v *Verifier) effective(mode Mode) Mode {
	switch {
	case v.cache == nil:
		return NoStore
	case mode == Use, mode == NoCache:
		return mode
	default:
		return NoStore
	}
}

// count adds an answer to the counters.
func (v *Verifier) count(r *Result) {
	if r.Err != nil {
		v.counters.failed.Add(1)
		return
	}
	v.counters.answers[r.Cache].Add(1)
	v.use(r.Verdict, r.Now)
}
