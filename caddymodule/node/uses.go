package node

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/usage"
)

const (
	// useInterval is how often the last uses of keys are passed on. A process that is killed loses those of this time.
	useInterval = 30 * time.Second

	// lastUsesTimeout bounds the last time, when the node closes.
	lastUsesTimeout = 2 * time.Second
)

// useWriter passes the last uses of keys on in the background: to the store, or to the upstream. Requests never wait
// for it. Its goroutine ends with close.
type useWriter struct {
	recorder *usage.Recorder
	write    func(context.Context, []core.Use) error
	logger   *zap.Logger
	cancel   context.CancelFunc
	done     chan struct{}
}

func newUseWriter(
	ctx context.Context, recorder *usage.Recorder, write func(context.Context, []core.Use) error, logger *zap.Logger,
) *useWriter {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &useWriter{recorder: recorder, write: write, logger: logger, cancel: cancel, done: make(chan struct{})}
	go w.run(ctx)
	return w
}

func (w *useWriter) run(ctx context.Context) {
	defer close(w.done)
	ticker := time.NewTicker(useInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			w.pass(ctx)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastUsesTimeout)
	defer cancel()
	w.pass(ctx)
}

// pass passes on what was recorded. What fails is tried again with the next: the uses are only late.
func (w *useWriter) pass(ctx context.Context) {
	uses := w.recorder.Drain()
	if len(uses) == 0 {
		return
	}
	if err := w.write(ctx, uses); err != nil {
		for _, u := range uses {
			w.recorder.Record(u)
		}
		w.logger.Debug("the last uses of keys could not be written; it is tried again", zap.Int("keys", len(uses)),
			zap.Error(err))
	}
}

// close passes on what is left and ends the goroutine. It returns when that has ended.
func (w *useWriter) close() {
	w.cancel()
	<-w.done
}
