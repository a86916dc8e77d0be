package networks

import (
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/talos-edge/talos-edge/caddymodule/internal/clientaddr"
	"github.com/talos-edge/talos-edge/core"
)

// ErrUnknown says that a request is of no network that is served: none has its host, or its gate is pinned to another.
var ErrUnknown = errors.New("no network that is served is this request's")

// Member is one network of a [Registry].
type Member[T any] struct {
	ID    core.NetworkID
	Hosts []string // as [Canonical] returns them; none: every host that is no other network's
	Value *T       // nil: a request for one of its hosts has no network
}

// Registry finds the network of a request. T is what its owner has for each network. Networks may be replaced at any
// time: a request that has found its network goes on with it. The zero value has none. All methods may be called from
// any goroutine.
type Registry[T any] struct{ current atomic.Pointer[table[T]] }

// table is one state of a registry. It does not change once made.
type table[T any] struct {
	only   *T // has every host, whatever its spelling; nil: hosts say whose it is
	rest   *T // has every host that is not in byHost; nil: such a host is unknown
	byHost map[string]*T
	byID   map[core.NetworkID]*T
}

// Replace puts networks in place of all before. One at most has no hosts. Of two with an id or a host in common the
// later one counts.
func (g *Registry[T]) Replace(members []Member[T]) {
	t := &table[T]{byHost: make(map[string]*T, len(members)), byID: make(map[core.NetworkID]*T, len(members))}
	for _, m := range members {
		t.byID[m.ID] = m.Value
		for _, host := range m.Hosts {
			t.byHost[host] = m.Value
		}
		if len(m.Hosts) == 0 {
			t.rest = m.Value
		}
	}
	if len(members) == 1 {
		t.only = t.rest
	}
	g.current.Store(t)
}

// Of returns the network of a request, or nil. The host is that of the request, or of the header X-Forwarded-Host if
// the peer is a trusted proxy of the server and sends exactly one. A host that is spelled as [Canonical] has it costs
// one look-up and no allocation, with a port or without.
func (g *Registry[T]) Of(r *http.Request) *T {
	t := g.current.Load()
	if t == nil {
		return nil
	}
	if t.only != nil {
		return t.only
	}
	host := r.Host
	if forwarded := r.Header["X-Forwarded-Host"]; len(forwarded) > 0 && clientaddr.FromTrustedProxy(r) {
		if len(forwarded) > 1 {
			return nil // which of them the client asked for cannot be told
		}
		host = forwarded[0]
	}
	if n, known := t.byHost[host]; known {
		return n
	}
	host, ok := Canonical(host)
	if !ok {
		return nil // it may be meant for another network
	}
	if n, known := t.byHost[host]; known {
		return n
	}
	return t.rest
}

// ByID returns a network, or nil.
func (g *Registry[T]) ByID(id core.NetworkID) *T {
	if t := g.current.Load(); t != nil {
		return t.byID[id]
	}
	return nil
}
