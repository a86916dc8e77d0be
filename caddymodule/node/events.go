package node

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
	"github.com/talos-edge/talos-edge/core"
)

// Events is the configuration of the feed of changes, which is the audit trail.
type Events struct {
	// Keep is for how long events are kept. Default: `90d`.
	Keep Duration `json:"keep,omitempty"`

	// KeepCount is how many events are kept at most, the newest ones. Default: 1,000,000.
	KeepCount int64 `json:"keep_count,omitempty"`
}

const (
	defaultKeep      = 90 * 24 * time.Hour
	defaultKeepCount = 1_000_000

	// pruneDelay is how long after its opening a node first removes old events, and pruneInterval how often it does.
	pruneDelay    = time.Minute
	pruneInterval = time.Hour
)

// retention is which events are kept.
type retention struct {
	keep  time.Duration
	count int
}

// resolve checks the configuration, of which nil is the default.
func (e *Events) resolve() (retention, error) {
	r := retention{keep: defaultKeep, count: defaultKeepCount}
	switch {
	case e == nil:
		return r, nil
	case e.KeepCount < 0 || e.KeepCount > maxKeepCount:
		return r, errors.New("keep_count: must lie between 1 and 1000000000")
	}
	if e.Keep != 0 {
		r.keep = time.Duration(e.Keep)
	}
	if e.KeepCount != 0 {
		r.count = int(e.KeepCount)
	}
	return r, nil
}

const maxKeepCount = 1_000_000_000

// unmarshalCaddyfile reads the `events` option.
func (e *Events) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return directive.Block(d, directive.Once{}, func(option string) (err error) {
		switch option {
		case "keep":
			if err = directive.Duration(d, &e.Keep); err == nil && e.Keep == 0 {
				err = d.Err("keep: must not be 0")
			}
		case "keep_count":
			if err = directive.Number(d, &e.KeepCount); err == nil && e.KeepCount == 0 {
				err = d.Err("keep_count: must not be 0")
			}
		default:
			err = directive.Unknown(d)
		}
		if err != nil {
			return err
		}
		if _, err := e.resolve(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	})
}

// pruner removes the events that are not kept, in the background. Its goroutine ends with close.
type pruner struct {
	retention
	store  core.Store
	logger *zap.Logger
	cancel context.CancelFunc
	done   chan struct{}
}

func newPruner(ctx context.Context, r retention, store core.Store, logger *zap.Logger) *pruner {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &pruner{retention: r, store: store, logger: logger, cancel: cancel, done: make(chan struct{})}
	go p.run(ctx)
	return p
}

func (p *pruner) run(ctx context.Context) {
	defer close(p.done)
	timer := time.NewTimer(pruneDelay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		p.prune(ctx)
		timer.Reset(pruneInterval)
	}
}

// prune removes what is old now. What fails is tried again with the next round: nothing depends on it.
func (p *pruner) prune(ctx context.Context) {
	began := time.Now()
	removed, err := p.store.PruneEvents(ctx, began.Add(-p.keep), p.count)
	if err != nil && ctx.Err() == nil {
		p.logger.Warn("old events were not removed; it is tried again in an hour", zap.Int("removed", removed),
			zap.Error(err))
		return
	}
	if removed > 0 {
		p.logger.Info("removed old events", zap.Int("removed", removed), zap.Duration("took", time.Since(began)))
	}
}

// close ends the goroutine, and returns when it has ended.
func (p *pruner) close() {
	p.cancel()
	<-p.done
}
