package node

import (
	"context"
	"strconv"
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

	store   core.Store     // nil: the node has no feed
	network core.NetworkID // whose changes count
	after   uint64         // the position of the last change before the configuration
	cancel  context.CancelFunc
	done    chan struct{} // closed when the goroutine has ended; nil: there is none
}

// prepare notes what a node's feed holds before the configuration runs.
func (e *emitter) prepare(n Node) {
	if node, ok := n.(*Embedded); ok {
		e.store, e.network, e.after = node.Store, node.network, node.Store.Positions().Applied()
	}
}

// start begins to emit events, if anybody would get them. It is called after all apps have started: by then it is known
// who subscribes.
func (e *emitter) start(ctx context.Context) {
	if e.store == nil || !e.events.ShouldEmit(keyChanged) {
		return
	}
	ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	e.done = make(chan struct{})
	go e.run(ctx)
}

// stop ends the goroutine. A handler that does not end with its context is not waited for beyond emitStop.
func (e *emitter) stop() {
	if e.done == nil {
		return
	}
	e.cancel()
	select {
	case <-e.done:
	case <-time.After(emitStop):
		e.logger.Warn("a handler of the event " + keyChanged + " does not end")
	}
}

func (e *emitter) run(ctx context.Context) {
	defer close(e.done)
	for ctx.Err() == nil {
		applied := e.store.Positions().Applied()
		page, err := e.store.Events(ctx, e.after, emitPage)
		switch {
		case err != nil: // the store logs that the database fails
			select {
			case <-ctx.Done():
			case <-time.After(emitPause):
			}
		case len(page.Events) > 0:
			e.emitAll(ctx, page.Events)
		default:
			_ = e.store.Positions().AwaitAfter(ctx, max(e.after, applied))
		}
	}
}

func (e *emitter) emitAll(ctx context.Context, changes []feed.Event) {
	caddyCtx := e.ctx
	caddyCtx.Context = ctx
	for i := range changes {
		change := &changes[i]
		if ctx.Err() != nil {
			return
		}
		e.after = change.Position
		if change.Network == e.network && change.Kind != feed.EventRestored {
			e.events.Emit(caddyCtx, keyChanged, changeData(change))
		}
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
	if record.Caller != nil {
		data["caller_kind"], data["caller_id"] = string(record.Caller.Kind), record.Caller.ID
	}
	return data
}
