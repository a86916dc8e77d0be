package redis

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

//go:embed take.lua
var source string

var script = redis.NewScript(source)

// run makes all calls until ctx ends.
func (l *Limiter) run(ctx context.Context) {
	defer close(l.stopped)
	for {
		err := l.connect(ctx)
		if err == nil {
			l.state.Store(working)
			err = l.serve(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		l.state.Store(away)
		l.release()
		l.observer.Away(err)
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return
		}
	}
}

// release lets the uses that wait be counted in this process.
func (l *Limiter) release() {
	for {
		select {
		case u := <-l.waiting:
			close(u.ahead)
		default:
			return
		}
	}
}

// connect makes a call that counts for no key, with enough time to connect. It shows that the script can be run and
// entries be written.
func (l *Limiter) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	cell := ratelimit.CellOf(core.RateLimitPolicy{Quota: 1, Window: time.Second}, time.Microsecond)
	if err := l.count(ctx, []*use{newUse(keyPrefix+"probe", cell)}); err != nil {
		return err
	}
	l.observer.Answered()
	return nil
}

// serve counts what waits until Redis is away, and returns why. One failure is enough before the first success: a
// Redis that answers connect and nothing else is away.
func (l *Limiter) serve(ctx context.Context) error {
	failures := tolerance - 1
	for {
		uses := l.next(ctx)
		if uses == nil {
			return ctx.Err()
		}
		call, cancel := context.WithTimeout(ctx, l.timeout)
		err := l.count(call, uses)
		cancel()
		if err == nil {
			failures = 0
			l.observer.Answered()
			continue
		}
		failures++
		if failures == tolerance {
			return err
		}
	}
}

// next waits until there are uses, and returns as many as a call may have. It returns nil when ctx has ended.
func (l *Limiter) next(ctx context.Context) (uses []*use) {
	for len(uses) == 0 {
		select {
		case u := <-l.waiting:
			uses = u.appendTo(uses, time.Now())
		case <-ctx.Done():
			return nil
		}
	}
	for now := time.Now(); len(uses) < maxCall; {
		select {
		case u := <-l.waiting:
			uses = u.appendTo(uses, now)
		default:
			return uses
		}
	}
	return uses
}

// appendTo appends a use for which somebody still waits.
func (u *use) appendTo(uses []*use, now time.Time) []*use {
	if now.After(u.until) {
		return uses
	}
	return append(uses, u)
}

// count counts uses in one round trip, or in two when Redis does not have the script yet. It answers those that wait
// for them, and returns an error if one of them could not be counted.
func (l *Limiter) count(ctx context.Context, uses []*use) (failed error) {
	l.send(ctx, uses, func(p redis.Pipeliner, keys []string, args ...any) *redis.Cmd {
		return p.EvalSha(ctx, script.Hash(), keys, args...)
	})
	var again []*use
	for _, u := range uses {
		if redis.HasErrorPrefix(u.reply.Err(), "NOSCRIPT") {
			again = append(again, u)
		}
	}
	if len(again) > 0 {
		l.send(ctx, again, func(p redis.Pipeliner, keys []string, args ...any) *redis.Cmd {
			return p.Eval(ctx, source, keys, args...)
		})
	}
	for _, u := range uses {
		ahead, err := u.reply.Int64()
		if err != nil {
			failed = err
			close(u.ahead)
			continue
		}
		u.ahead <- time.Duration(ahead) * time.Microsecond
	}
	return failed
}

// send runs the script for each of the uses.
func (l *Limiter) send(
	ctx context.Context, uses []*use, eval func(redis.Pipeliner, []string, ...any) *redis.Cmd,
) {
	p := l.client.Pipeline()
	for _, u := range uses {
		u.reply = eval(p, []string{u.key}, u.cell.Interval.Microseconds(), u.cell.Room.Microseconds())
	}
	if _, err := p.Exec(ctx); err != nil {
		for _, u := range uses {
			if u.reply.Val() == nil && u.reply.Err() == nil {
				u.reply.SetErr(err) // there was no connection, so there is no reply
			}
		}
	}
}
