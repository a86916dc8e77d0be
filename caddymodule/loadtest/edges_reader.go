package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	api "github.com/talos-edge/talos-edge/adminapi/client"
)

// readerWait is for how long an edge as we ship it lets the node wait for a change.
const readerWait = 10 * time.Second

// A reader follows the feed of a node as an edge does: it asks for what comes after its position, which acknowledges
// the position. It applies nothing, and checks that no change is missed and none comes twice.
type reader struct {
	name     string
	position atomic.Uint64
	last     atomic.Int64 // when the last change came, in ns since 1970; 0: none has come
	changes  atomic.Uint64
	feedID   string
}

// readers are readers in this process, each with a connection of its own.
type readers struct {
	client *api.Client
	stop   []context.CancelFunc // of each begin
	tasks  sync.WaitGroup
	all    []*reader

	mu  sync.Mutex
	err error // of those that ended before they were told to
}

// newReaders makes room for n readers of a node. The caller calls end.
func newReaders(node *proxy, n int) (*readers, error) {
	c, err := node.client(n)
	return &readers{client: c}, err
}

// begin starts n readers from the oldest change on.
func (r *readers) begin(ctx context.Context, n int, name string) []*reader {
	ctx, stop := context.WithCancel(ctx)
	r.stop = append(r.stop, stop)
	started := make([]*reader, n)
	for i := range started {
		one := &reader{name: fmt.Sprintf("%s-%d", name, i)}
		started[i] = one
		r.tasks.Go(func() {
			if err := one.follow(ctx, r.client); ctx.Err() == nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.err = errors.Join(r.err, fmt.Errorf("%s: %w", one.name, err))
			}
		})
	}
	r.all = append(r.all, started...)
	return started
}

// end stops the readers, and returns what went wrong with any.
func (r *readers) end() error {
	for _, stop := range r.stop {
		stop()
	}
	r.tasks.Wait()
	r.client.Close()
	return r.err
}

// failed is what has gone wrong so far.
func (r *readers) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// follow reads until ctx ends or a page is not what it has to be.
func (r *reader) follow(ctx context.Context, c *api.Client) error {
	headers := []api.CallOption{api.Header(api.EdgeIDHeader, r.name), api.Header(api.EdgeInstanceHeader, "load")}
	for {
		page, err := c.EventsPage(ctx, api.EventsRequest{
			After: r.position.Load(), FeedID: r.feedID, Wait: readerWait, PageSize: 1000,
		}, headers...)
		if err != nil {
			return err
		}
		if err := r.take(page); err != nil {
			return err
		}
	}
}

// take checks a page and goes to its end.
func (r *reader) take(page *api.EventsResponse) error {
	at := r.position.Load()
	if page.Reset {
		return fmt.Errorf("a reset at position %d", at)
	}
	for i := range page.Events {
		if next := uint64(page.Events[i].Position); next != at+1 {
			return fmt.Errorf("position %d comes after %d", next, at)
		}
		at++
	}
	if uint64(page.Position) != at {
		return fmt.Errorf("a page that ends at position %d says it is at %d", at, page.Position)
	}
	if n := len(page.Events); n > 0 {
		r.last.Store(time.Now().UnixNano())
		r.changes.Add(uint64(n))
	}
	r.feedID = page.FeedID
	r.position.Store(at)
	return nil
}

// reached waits until all readers have come to a position, and returns when the last of them did.
func (r *readers) reached(ctx context.Context, position uint64) (last time.Time, err error) {
	for _, one := range r.all {
		for one.position.Load() < position {
			if err := errors.Join(r.failed(), until(ctx, time.Now().Add(10*time.Millisecond))); err != nil {
				return last, err
			}
		}
		if at := time.Unix(0, one.last.Load()); at.After(last) {
			last = at
		}
	}
	return last, r.failed()
}
