package upstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	randv2 "math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/outage"
	"github.com/talos-edge/talos-edge/core"
)

const (
	defaultFollowWait = 10 * time.Second

	// The pause after a question that failed, which doubles from one to the next.
	minFollowPause = 50 * time.Millisecond
	maxFollowPause = 2 * time.Second
	// noFeedPause is the pause when the upstream has no feed, or does not let this node read it.
	noFeedPause = time.Minute

	// maxRefusals is how often in a row a feed that was followed is refused before it counts as not there.
	maxRefusals = 5

	// leaveTimeout bounds the farewell of a node that closes.
	leaveTimeout = time.Second
)

// maxFollowed is how many networks are followed at most. Each is a question to the upstream that waits for an answer.
const maxFollowed = 1000

// following are the followers of a source, one for each network.
type following struct {
	followers map[core.NetworkID]*follower
	watch     *outage.Watch
	stop      context.CancelFunc
	failing   atomic.Int32 // how many followers fail

	mu sync.Mutex // guards follower.completeAt
}

// follower follows the upstream's change feed of one network by blocking queries. Asking for what comes after a
// position acknowledges that position, so a page is applied before the next question. The goroutine is run.
type follower struct {
	remote   *Remote
	all      *following
	network  *network
	instance string
	done     chan struct{}

	completeAt time.Time // when all changes were known last; zero: never

	// The rest but position and advanced is used by run alone.
	feedID   string // empty: the feed is not known yet, and nothing is applied
	position atomic.Uint64
	failures int
	failing  bool // it is counted as such
	silent   bool // that there is no feed has been logged

	mu       sync.Mutex
	advanced chan struct{} // closed when position rises; nil: nobody waits
}

// Follow begins to follow the upstream's change feed, until the source is closed, also when ctx has ended: what changes
// there is then looked up again, and the table of positions is complete as of the last answer, with several networks as
// of the one that was answered the longest ago. It is called at most once, and needs [Config.EdgeID]. An upstream that
// has no feed is asked again from time to time. Of very many networks, none is followed.
func (u *Remote) Follow(ctx context.Context) {
	if u.config.EdgeID == "" {
		return
	}
	if len(u.networks) > maxFollowed {
		u.config.Logger.Warn("the change feed of the upstream is not followed: keys that are revoked elsewhere are "+
			"refused here when their cached verdicts expire; give this sidecar fewer networks",
			zap.Int("networks", len(u.networks)), zap.Int("at_most", maxFollowed))
		return
	}
	all := &following{followers: make(map[core.NetworkID]*follower, len(u.networks))}
	ctx, all.stop = context.WithCancel(context.WithoutCancel(ctx))
	all.watch = outage.New(outage.Config{
		Logger: u.config.Logger, Level: zap.WarnLevel,
		Begins: "the upstream's change feed cannot be read: keys that are revoked elsewhere are refused here when " +
			"their cached verdicts expire",
		Ends: "the upstream's change feed is read again",
	})
	for id, n := range u.networks {
		all.followers[id] = &follower{
			remote: u, all: all, network: n, instance: rand.Text(), done: make(chan struct{}),
		}
	}
	u.following = all
	for _, f := range all.followers {
		go f.run(ctx)
	}
}

// close ends the goroutines, and returns when they have ended.
func (a *following) close() {
	if a == nil {
		return
	}
	a.stop()
	for _, f := range a.followers {
		<-f.done
	}
	a.watch.Close()
}

// markComplete says that a follower knew all changes at a moment. The table is complete as of the moment at which all
// did.
func (a *following) markComplete(f *follower, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f.completeAt = at
	for _, other := range a.followers {
		if other.completeAt.IsZero() {
			return
		}
		if other.completeAt.Before(at) {
			at = other.completeAt
		}
	}
	f.remote.changes.table.MarkComplete(at)
}

// worked and failed take in how a follower's questions end. While one fails, the feed cannot be read.
func (f *follower) worked() {
	f.failures = 0
	if f.failing {
		f.failing = false
		f.all.failing.Add(-1)
	}
	if f.all.failing.Load() == 0 {
		f.all.watch.Worked()
	}
}

func (f *follower) failed(err error) {
	if !f.failing {
		f.failing = true
		f.all.failing.Add(1)
	}
	f.all.watch.Failed(err)
}

func (f *follower) run(ctx context.Context) {
	defer close(f.done)
	for ctx.Err() == nil {
		err := f.step(ctx)
		if err == nil {
			f.worked()
			continue
		}
		if ctx.Err() != nil {
			break
		}
		if len(f.all.followers) > 1 {
			err = fmt.Errorf("network %s: %w", f.network.id, err)
		}
		f.pause(ctx, err)
	}
	f.leave(ctx)
}

// step asks once, and applies the answer.
func (f *follower) step(ctx context.Context) error {
	if f.feedID == "" {
		return f.begin(ctx)
	}
	asked := time.Now()
	page, err := f.ask(ctx, client.EventsRequest{
		After: f.position.Load(), FeedID: f.feedID, Wait: f.remote.config.FollowWait, PageSize: core.MaxEvents,
	}, f.edgeHeaders()...)
	if err != nil {
		return err
	}
	return f.apply(page, asked)
}

// begin makes this node known as an edge that has applied nothing, and then goes to the end of the feed: what was
// looked up before is looked up again, so earlier changes do not matter.
func (f *follower) begin(ctx context.Context) error {
	if _, err := f.ask(ctx, client.EventsRequest{PageSize: 1}, f.edgeHeaders()...); err != nil {
		return err
	}
	asked := time.Now()
	// A position beyond the end of the feed is answered with that of the end. No edge is named, as none has come there.
	page, err := f.ask(ctx, client.EventsRequest{After: math.MaxInt64, PageSize: 1})
	if err != nil {
		return err
	}
	if !page.Reset {
		return fmt.Errorf("%w: a position beyond the end of the feed is not refused", client.ErrAnswer)
	}
	if err := f.apply(page, asked); err != nil {
		return err
	}
	f.remote.config.Logger.Info("following the upstream's change feed", zap.String("edge_id", f.remote.config.EdgeID),
		zap.Stringer("network", f.network.id), zap.Uint64("position", f.position.Load()))
	f.silent = false
	return nil
}

// apply applies an answer to a question that was sent at a moment.
func (f *follower) apply(page *client.EventsResponse, asked time.Time) error {
	position := uint64(page.Position)
	var age time.Duration
	if page.CompleteAge != "" {
		var err error
		if age, err = core.ParseDuration(page.CompleteAge); err != nil || age < 0 {
			return fmt.Errorf("%w: complete_age is not a duration", client.ErrAnswer)
		}
	}
	switch {
	case page.FeedID == "":
		return errNoFeed
	case page.Reset:
		f.remote.changes.reset(position)
	case position < f.position.Load(), page.CompleteAge == "" && position == f.position.Load():
		return fmt.Errorf("%w: the feed goes back, or not on", client.ErrAnswer)
	default:
		for i := range page.Events {
			f.remote.changes.forget(f.network.id, page.Events[i].KeyID, uint64(page.Events[i].Position))
		}
	}
	f.feedID = page.FeedID
	f.advance(position)
	if page.CompleteAge != "" {
		f.all.markComplete(f, asked.Add(-age))
	}
	return nil
}

// advance moves the position, and wakes who waits for it.
func (f *follower) advance(position uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.position.Store(position)
	if f.advanced != nil {
		close(f.advanced)
		f.advanced = nil
	}
}

// The reasons for which no feed is followed, for as long as it takes an operator to change that.
var (
	errNoFeed      = errors.New("the upstream has no change feed")
	errFeedRefused = errors.New("the upstream does not let this node read its change feed")
)

// ask reads a page. Which addresses are asked, and in which order, is the look-ups' to say; the breakers learn nothing
// from it.
func (f *follower) ask(
	ctx context.Context, r client.EventsRequest, options ...client.CallOption,
) (page *client.EventsResponse, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.Wait+f.remote.config.Timeout)
	defer cancel()
	options = append(f.network.options(), options...)
	failed := f.remote.pool.do(ctx, probeCall, func(ctx context.Context, a *address) error {
		page, err = a.client.EventsPage(ctx, r, options...)
		return err
	})
	if failed == nil {
		return page, nil
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		switch e.HTTP {
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			return nil, errNoFeed
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
			return nil, errFeedRefused
		}
	}
	return nil, failed
}

// edgeHeaders name this node.
func (f *follower) edgeHeaders() []client.CallOption {
	options := []client.CallOption{
		client.Header(client.EdgeIDHeader, f.remote.config.EdgeID),
		client.Header(client.EdgeInstanceHeader, f.instance),
	}
	if v := f.remote.config.Version; v != "" {
		options = append(options, client.Header("User-Agent", "talos/"+v))
	}
	return options
}

// pause waits after a question that failed.
func (f *follower) pause(ctx context.Context, err error) {
	pause := noFeedPause
	switch {
	case f.feedID == "" && isLasting(err), f.failures >= maxRefusals && isLasting(err):
		f.noFeed(err)
	default:
		f.failures++
		if f.failures > 1 {
			f.failed(err)
		}
		pause = min(minFollowPause<<min(f.failures-1, 10), maxFollowPause)
		if failed, ok := errors.AsType[*failure](err); ok {
			pause = max(pause, failed.retry)
		}
	}
	spread := 0.5 + randv2.Float64() //nolint:gosec // keeps no secret
	pause = time.Duration(float64(pause) * spread)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// isLasting reports whether an operator has to change something. A proxy before the upstream may answer so for a
// moment, too, while something is replaced there.
func isLasting(err error) bool { return errors.Is(err, errNoFeed) || errors.Is(err, errFeedRefused) }

// noFeed logs, once, that nothing is followed. If there was a feed before, this node begins anew when there is one
// again: what it follows by then may be another one.
func (f *follower) noFeed(err error) {
	f.feedID = ""
	if f.silent || !f.remote.log.may("no feed") { // of many networks, the others are logged when they are asked again
		return
	}
	f.silent = true
	level := zap.InfoLevel
	if errors.Is(err, errFeedRefused) {
		level = zap.WarnLevel
	}
	f.remote.config.Logger.Log(level, err.Error()+": keys that are revoked elsewhere are refused here when their "+
		"cached verdicts expire; it is asked for again each minute")
}

// leave notifies the upstream that this edge ends, so that no change waits for it.
func (f *follower) leave(ctx context.Context) {
	if f.feedID == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	// An edge that was not heard of for a minute is given up in any case.
	_, _ = f.ask(ctx, client.EventsRequest{After: f.position.Load(), FeedID: f.feedID, PageSize: 1},
		append(f.edgeHeaders(), client.Header(client.EdgeLeavesHeader, "1"))...)
}

// FeedState is how far a source has come with the upstream's change feed.
type FeedState struct {
	Following  bool   // there is a feed, and it has been read
	Position   uint64 // all changes up to it are applied
	CompleteAt time.Time
}

// Feed reads how far this source has come with the upstream's change feed, of several networks with the one that is the
// furthest behind.
func (u *Remote) Feed() FeedState {
	at := u.changes.table.CompleteAt()
	if u.following == nil || at == 0 {
		return FeedState{}
	}
	position := uint64(math.MaxUint64)
	for _, f := range u.following.followers {
		position = min(position, f.position.Load())
	}
	return FeedState{Following: true, Position: position, CompleteAt: time.Unix(0, at)}
}

// AwaitPosition waits until all changes of a network up to a position of the upstream's feed are applied. It returns
// ctx's error if ctx ends first, and [core.Unavailable] if the feed is not followed.
func (u *Remote) AwaitPosition(ctx context.Context, network core.NetworkID, position uint64) error {
	var f *follower
	if u.following != nil {
		f = u.following.followers[network]
	}
	if f == nil {
		return core.NewError(core.Unavailable, "this node does not follow its upstream's change feed")
	}
	for {
		f.mu.Lock()
		if f.position.Load() >= position {
			f.mu.Unlock()
			return nil
		}
		if f.advanced == nil {
			f.advanced = make(chan struct{})
		}
		advanced := f.advanced
		f.mu.Unlock()
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
