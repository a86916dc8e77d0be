package webhook

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/talos-edge/talos-edge/adminapi/outage"
	"github.com/talos-edge/talos-edge/core"
)

const (
	// lease is how long the reader's lease lasts. A process stops to deliver when it has not been able to renew its
	// lease for the safe part of it, so that two processes do not deliver at once.
	lease     = 30 * time.Second
	leaseSafe = 20 * time.Second
	// renewInterval is how often the lease is renewed.
	renewInterval = 10 * time.Second
	// claimInterval is how often a process without the lease tries to get it.
	claimInterval = time.Second
	// saveInterval is how long the position is not saved again: it bounds what is delivered twice after a crash.
	saveInterval = 100 * time.Millisecond
	// saveTimeout bounds a write of the position, and closeTimeout the last one.
	saveTimeout  = 10 * time.Second
	closeTimeout = 2 * time.Second
)

// Sender delivers changes to one webhook. It works from [Sender.Start] to [Sender.Close].
type Sender struct {
	config   Config
	networks map[core.NetworkID]bool
	endpoint *endpoint
	claim    core.ReaderClaim
	watch    *outage.Watch
	gone     atomic.Bool // the receiver has answered 410, which was logged

	window atomic.Pointer[window] // nil: another process delivers
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended
}

// New makes a Sender, which does nothing yet.
func New(c Config) (*Sender, error) {
	if c.Store == nil {
		return nil, errors.New("a store is required")
	}
	if len(c.Networks) == 0 {
		c.Networks = []core.NetworkID{{}}
	}
	networks := make(map[core.NetworkID]bool, len(c.Networks))
	for _, id := range c.Networks {
		networks[id] = true
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Observe == nil {
		c.Observe = func(Result, int) {}
	}
	e, err := newEndpoint(&c)
	if err != nil {
		return nil, err
	}
	c.Logger = c.Logger.With(zap.String("webhook", e.host()))
	return &Sender{
		config: c, networks: networks, endpoint: e, done: make(chan struct{}),
		claim: core.ReaderClaim{Name: readerName(e.url), Owner: rand.Text(), Lease: lease},
		watch: outage.New(outage.Config{
			Logger: c.Logger, Level: zapcore.ErrorLevel,
			Begins: "deliveries to a webhook fail: they are tried again until they succeed, as long as the feed " +
				"keeps the events",
			Ends: "deliveries to a webhook succeed again",
		}),
	}, nil
}

// Host is the host of the URL, with its port if it has one.
func (s *Sender) Host() string { return s.endpoint.host() }

// Lag is the age of the oldest event that is not delivered; 0 if there is none. It is false while another process
// delivers, or the database does not answer.
func (s *Sender) Lag() (time.Duration, bool) {
	w := s.window.Load()
	if w == nil || w.unread.Load() {
		return 0, false
	}
	oldest := w.oldest()
	if oldest.IsZero() {
		return 0, true
	}
	return max(time.Since(oldest), 0), true
}

// Start begins to deliver. When it returns, the beginning of a new webhook has been stored: changes from then on are
// delivered. If it could not be stored, that is tried again later. ctx bounds the first try only. The caller closes the
// sender.
func (s *Sender) Start(ctx context.Context) {
	at, err := s.tryClaim(ctx)
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go s.run(ctx, at, err)
}

// Close ends deliveries under way, gives the reader's lease up, and returns when all is done. It is called once, after
// Start.
func (s *Sender) Close() {
	s.cancel()
	<-s.done
	s.watch.Close()
	s.endpoint.client.CloseIdleConnections()
}

func (s *Sender) tryClaim(ctx context.Context) (core.FeedReader, error) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	return s.config.Store.ClaimReader(ctx, s.claim)
}

// run delivers while this process has the reader's lease, and tries to get it while it has not.
func (s *Sender) run(ctx context.Context, at core.FeedReader, err error) {
	defer close(s.done)
	for {
		if err == nil {
			s.serve(ctx, at)
		}
		if !pause(ctx, claimInterval) {
			return
		}
		at, err = s.tryClaim(ctx)
	}
}

// serve delivers until ctx ends or the lease is lost.
func (s *Sender) serve(ctx context.Context, at core.FeedReader) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := newWindow(at)
	s.window.Store(w)
	defer s.window.Store(nil)
	var (
		group  sync.WaitGroup
		queues [lanes]chan *entry
	)
	for i := range queues {
		queues[i] = make(chan *entry, maxWindow) // the window has no more
		group.Go(func() { s.deliverEvents(ctx, w, queues[i]) })
	}
	group.Go(func() { s.read(ctx, w, &queues) })
	slots := make(chan struct{}, lanes)
	for _, p := range w.periods {
		group.Go(func() { s.sendNotices(ctx, w, p, slots) })
	}
	group.Go(func() {
		defer cancel()
		s.keep(ctx, w, cancel)
	})
	group.Wait()
	s.giveUp(ctx, w)
}

// keep saves what is done and renews the lease, until ctx ends or the lease is lost.
func (s *Sender) keep(ctx context.Context, w *window, lost context.CancelFunc) {
	safe := time.AfterFunc(leaseSafe, lost)
	defer safe.Stop()
	renew := time.NewTicker(renewInterval)
	defer renew.Stop()
	for {
		select {
		case <-w.moved:
		case <-renew.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		switch err := s.save(ctx, w, saveTimeout, lease); {
		case err == nil:
			safe.Reset(leaseSafe - min(time.Since(began), leaseSafe))
		case core.ReasonOf(err) == core.Conflict:
			s.config.Logger.Warn("another process has taken the lease of a webhook's reader, and delivers from now "+
				"on; if this repeats, see whether the database is slow and the clocks of the processes agree",
				zap.Error(err))
			return
		default: // the store logs that the database fails
			signal(w.moved)
			pause(ctx, readPause)
		}
		if !pause(ctx, saveInterval) {
			return
		}
	}
}

// giveUp saves what is done for the last time, and ends the lease, so that another process delivers at once.
func (s *Sender) giveUp(ctx context.Context, w *window) {
	err := s.save(context.WithoutCancel(ctx), w, closeTimeout, 0)
	if err != nil && core.ReasonOf(err) != core.Conflict {
		s.config.Logger.Warn("the position of a webhook was not saved: the last deliveries may be repeated",
			zap.Error(err))
	}
}

func (s *Sender) save(ctx context.Context, w *window, timeout, lease time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	claim := s.claim
	claim.Lease = lease
	return s.config.Store.SaveReader(ctx, claim, w.done())
}
