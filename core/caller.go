package core

import (
	"context"

	"github.com/talos-edge/talos-edge/core/feed"
)

type callerKey struct{}

// WithCaller says who makes the changes that are made with the context, for the feed.
func WithCaller(ctx context.Context, c feed.Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf is who makes the changes that are made with a context: the server itself unless [WithCaller] has said
// otherwise.
func CallerOf(ctx context.Context) feed.Caller {
	if c, ok := ctx.Value(callerKey{}).(feed.Caller); ok {
		return c
	}
	return feed.Caller{Kind: feed.CallerSystem}
}
