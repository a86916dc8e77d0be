package node

import "sync/atomic"

// Surface makes of an app's node what a handler serves, once for each node.
type Surface[T any] struct {
	app   *App
	serve func(Node) T
	last  atomic.Pointer[made[T]]
}

type made[T any] struct {
	of    Node
	value T
}

// NewSurface makes a surface, which opens no node yet.
func NewSurface[T any](app *App, serve func(Node) T) *Surface[T] {
	return &Surface[T]{app: app, serve: serve}
}

// Hold begins a request: it returns what to serve it with, over a node that stays open until Release.
func (s *Surface[T]) Hold() T {
	n := s.app.Hold()
	if m := s.last.Load(); m != nil && m.of == n {
		return m.value
	}
	m := &made[T]{n, s.serve(n)}
	s.last.Store(m)
	return m.value
}

// Release ends a request.
func (s *Surface[T]) Release() { s.app.Release() }
