package redis

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

// keyPrefix begins the names of all entries.
const keyPrefix = "talos:limit:"

const (
	maxWaiting = 4096 // uses that wait for a call, at most
	maxCall    = 512  // uses of one call, at most
	tolerance  = 3    // calls that fail one after the other until Redis is away

	// retryPause is the time between the calls that find out whether an absent Redis is back.
	retryPause = 500 * time.Millisecond
)

// The states of a limiter.
const (
	connecting = iota // it was just opened: uses wait for the first connection
	working
	away // Redis does not answer, or the limiter is closed: uses are counted in this process
)

// Observer is told how a limiter fares. Its functions are called from several goroutines and must not block. One that
// is nil is not called.
type Observer struct {
	// Local is called for each use that was counted in this process because Redis could not say. allowed reports
	// whether that count let it through.
	Local func(allowed bool)

	// Away is called when Redis becomes unavailable, and for each attempt to reach it that fails. err holds no
	// password.
	Away func(err error)

	// Answered is called after each call that Redis has answered.
	Answered func()
}

// Limiter counts uses in Redis, and in this process what Redis cannot say.
type Limiter struct {
	timeout  time.Duration
	observer Observer
	client   redis.UniversalClient
	local    *ratelimit.Memory
	state    atomic.Int32
	waiting  chan *use
	stop     context.CancelFunc
	stopped  chan struct{} // closed when the goroutine has ended
}

// use is one use of a key, until it is counted.
type use struct {
	key   string
	cell  ratelimit.Cell
	until time.Time          // after that nobody waits for it
	ahead chan time.Duration // what the script returns; closed without a value when the call failed
	reply *redis.Cmd
}

// Open makes a limiter of the Redis that a URL names:
//
//	redis://[[user]:password@]host[:port][/db]
//	rediss://…                                           the same over TLS
//	redis-sentinel://[[user]:password@]host[:port][,…]/master
//	redis-cluster://[[user]:password@]host[:port][,…]
//
// Special characters of user and password are percent-encoded. The options, as in ?timeout=50ms&tls=on, are timeout
// (of a use, 1ms to 10s, default 20ms); tls_ca, tls_cert, tls_key (files in PEM form) and tls_server_name; with
// sentinels also db, sentinel_user and sentinel_password; with sentinels and clusters tls=on.
//
// It connects in the background and does not fail when Redis is away. An error is one of the URL, or of a file that it
// names, and does not repeat the URL. The caller closes the limiter.
func Open(url string, o Observer) (*Limiter, error) {
	t, err := parse(url)
	if err != nil {
		return nil, err
	}
	if _, err := t.tlsSettings(); err != nil {
		return nil, err
	}
	local, err := ratelimit.NewMemory(0)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &Limiter{
		timeout: t.timeout, observer: o.withDefaults(), client: t.newClient(ctx), local: local,
		waiting: make(chan *use, maxWaiting), stop: stop, stopped: make(chan struct{}),
	}
	go l.run(ctx)
	return l, nil
}

func (o Observer) withDefaults() Observer {
	if o.Local == nil {
		o.Local = func(bool) {}
	}
	if o.Away == nil {
		o.Away = func(error) {}
	}
	if o.Answered == nil {
		o.Answered = func() {}
	}
	return o
}

// Take counts one use. It waits for the timeout of the URL at most, whatever the context says, and returns no error: a
// use that Redis does not answer for in that time is counted in this process.
func (l *Limiter) Take(
	ctx context.Context, network core.NetworkID, keyID string, p core.RateLimitPolicy,
) (ratelimit.Result, error) {
	if p.Quota <= 0 || p.Window <= 0 {
		return ratelimit.Result{Allowed: true}, nil
	}
	cell := ratelimit.CellOf(p, time.Microsecond)
	if ahead, ok := l.ahead(keyPrefix+network.String()+":"+keyID, cell); ok {
		r, _ := cell.Take(0, ahead)
		return r, nil
	}
	r, err := l.local.Take(ctx, network, keyID, p)
	l.observer.Local(r.Allowed)
	return r, err
}

// ahead has a use counted in Redis, and returns how far the ones before it have run ahead. It returns false when Redis
// cannot say.
func (l *Limiter) ahead(key string, cell ratelimit.Cell) (time.Duration, bool) {
	if l.state.Load() == away {
		return 0, false
	}
	u := newUse(key, cell)
	u.until = time.Now().Add(l.timeout)
	select {
	case l.waiting <- u:
	default:
		return 0, false
	}
	timer := time.NewTimer(l.timeout)
	defer timer.Stop()
	select {
	case ahead, ok := <-u.ahead:
		return ahead, ok
	case <-timer.C:
		l.state.CompareAndSwap(connecting, away)
		return 0, false
	}
}

func newUse(key string, cell ratelimit.Cell) *use {
	return &use{key: key, cell: cell, ahead: make(chan time.Duration, 1)}
}

// Close ends the limiter. Later uses are counted in this process.
func (l *Limiter) Close() error {
	l.stop()
	<-l.stopped
	l.state.Store(away)
	if err := l.client.Close(); err != nil {
		return fmt.Errorf("closing the connections to Redis: %w", err)
	}
	return nil
}

// Interface guard.
var _ ratelimit.Limiter = (*Limiter)(nil)
