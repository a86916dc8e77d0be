package node

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// keyChanged is the name of Caddy's event of a change.
const keyChanged = "talos_key_changed"

const (
	// emitPage is how many changes are read at once.
	emitPage = 100
	// emitPause is how long the feed is not read after it could not be.
	emitPause = time.Second
	// emitStop is how long the end of a configuration waits for a handler of events.
	emitStop = 5 * time.Second
)

// emitter emits an event of Caddy for each change of a key while a configuration runs. It is a reader of the feed, so
// handlers may take their time: no request waits for them.
type emitter struct {
	events *caddyevents.App
	ctx    caddy.Context // of the app talos, from which the events come
	logger *zap.Logger

	store    core.Store               // nil: the node has no feed
	emitting *atomic.Pointer[emitter] // of store
	serves   func(core.NetworkID) bool
	after    atomic.Uint64 // the position of the last change that was handled; at first, of the last one
	cancel   context.CancelFunc
	done     chan struct{} // closed when the goroutine has ended; nil: there is none
	stopped  chan struct{} // closed when stop has returned
}

// prepare notes what a node's feed holds before the configuration runs.
func (e *emitter) prepare(n Node) {
	if node, ok := n.(*Embedded); ok {
		e.store, e.emitting = node.Store, node.emitting
		e.serves = func(id core.NetworkID) bool { return node.Keys(id) != nil }
		e.after.Store(node.Store.Positions().Applied())
	}
}

// start begins to emit events, if anybody would get them. It is called after all apps have started: by then it is known
// who subscribes. The emitter of the configuration before stops later, and this one goes on where it ended. The context
// is that of the app: Emit adds to a Replacer if one is in its context, as there is in that of the event "started".
func (e *emitter) start() {
	if e.store == nil || !e.events.ShouldEmit(keyChanged) {
		return
	}
	var ctx context.Context
	ctx, e.cancel = context.WithCancel(e.ctx)
	e.done, e.stopped = make(chan struct{}), make(chan struct{})
	go e.run(ctx, e.emitting.Swap(e))
}

// stop ends the goroutine. A handler that does not end with its context is not waited for beyond emitStop.
func (e *emitter) stop() {
	if e.done == nil {
		return
	}
	defer e.emitting.CompareAndSwap(e, nil) // no other one goes on
	defer close(e.stopped)
	e.cancel()
	select {
	case <-e.done:
	case <-time.After(emitStop):
		e.logger.Warn("a handler of the event " + keyChanged + " does not end: it must return when its context ends")
	}
}

func (e *emitter) run(ctx context.Context, before *emitter) {
	defer close(e.done)
	if before != nil {
		select {
		case <-before.stopped:
		case <-ctx.Done():
		}
		e.after.Store(before.after.Load())
	}
	for ctx.Err() == nil {
		applied := e.store.Positions().Applied()
		after := e.after.Load()
		page, err := e.store.Events(ctx, after, emitPage)
		switch {
		case err != nil: // the store logs that the database fails
			select {
			case <-ctx.Done():
			case <-time.After(emitPause):
			}
		case len(page.Events) > 0:
			e.emitAll(ctx, page.Events)
		default:
			_ = e.store.Positions().AwaitAfter(ctx, max(after, applied))
		}
	}
}

// emitAll emits an event for each change. One that is interrupted is left for the next configuration.
func (e *emitter) emitAll(ctx context.Context, changes []feed.Event) {
	caddyCtx := e.ctx
	caddyCtx.Context = ctx
	for i := range changes {
		change := &changes[i]
		if e.serves(change.Network) && change.Kind != feed.EventRestored {
			e.events.Emit(caddyCtx, keyChanged, changeData(change))
		}
		if ctx.Err() != nil {
			return
		}
		e.after.Store(change.Position)
	}
}

// changeData is what handlers get of a change: the fields that the API shows, as text.
func changeData(change *feed.Event) map[string]any {
	record := adminapi.EventRecord(change)
	data := map[string]any{
		"type":     record.Type,
		"position": strconv.FormatUint(change.Position, 10),
		"time":     record.Time.Format(time.RFC3339Nano),
		"key_id":   record.KeyID,
		"key_type": record.KeyType,
		"actor_id": record.ActorID,
		"reason":   string(record.Reason),
	}
	if change.Network != (core.NetworkID{}) {
		data["network"] = change.Network.String()
	}
	if record.Caller != nil {
		data["caller_kind"], data["caller_id"] = string(record.Caller.Kind), record.Caller.ID
	}
	return data
}
