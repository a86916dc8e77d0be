package upstream

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/confirm"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
	"github.com/talos-edge/talos-edge/storage"
)

// restartable is a node of ours, which can be stopped and started again.
type restartable struct {
	t    testing.TB
	name string

	mu      sync.Mutex
	dsn     string
	process *process             // nil: it is stopped
	seen    map[string]time.Time // when edges were last heard of, by any process
}

// process is a node from one start to the next stop.
type process struct {
	store         core.Store
	verifier      *verify.Verifier
	confirmations *confirm.Confirmations
	handler       http.Handler

	open     context.Context
	stop     context.CancelFunc
	requests sync.WaitGroup
}

func newRestartable(t testing.TB, name, dsn string) *restartable {
	t.Helper()
	n := &restartable{t: t, name: name, dsn: dsn, seen: make(map[string]time.Time)}
	n.start()
	t.Cleanup(n.stop)
	return n
}

// inFile names a new database file.
func inFile(t testing.TB) (dsn string) {
	t.Helper()
	return "sqlite://" + filepath.ToSlash(filepath.Join(t.TempDir(), "talos.db"))
}

func (n *restartable) start() {
	n.t.Helper()
	store, err := storage.Open(context.Background(), n.dsn, storage.Options{})
	if err != nil {
		n.t.Errorf("the node does not start: %v", err)
		return
	}
	keys, err := engine.New(engine.Config{Keyring: testKeyring}, store)
	if err != nil {
		n.t.Errorf("the node does not start: %v", err)
		return
	}
	p := &process{store: store}
	if p.verifier, err = verify.New(verify.Config{}, keys); err != nil {
		n.t.Errorf("the node does not start: %v", err)
		return
	}
	p.open, p.stop = context.WithCancel(context.Background())
	p.confirmations = confirm.New(context.Background(), store, n.name, "")
	n.awaitRecord(store)
	network := adminapi.Network{
		Keys: keys, Verifier: p.verifier, Confirmations: p.confirmations, AwaitPosition: keys.AwaitPosition,
	}
	p.handler = adminapi.Admin(adminapi.Options{
		Network: func(*http.Request) (adminapi.Network, error) { return network, nil },
		Ready:   keys.Ready,
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process = p
}

// awaitRecord waits until other nodes know that this one is there.
func (n *restartable) awaitRecord(store core.Store) {
	n.t.Helper()
	for {
		all, _, err := store.Nodes(context.Background())
		if err != nil {
			n.t.Errorf("reading which nodes there are: %v", err)
			return
		}
		if slices.ContainsFunc(all, func(s core.NodeState) bool { return s.ID == n.name && s.Seen.Unix() > 0 }) {
			return
		}
		pause(context.Background(), time.Millisecond)
	}
}

// isRunning reports whether the node is there for the others.
func (n *restartable) isRunning() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process != nil
}

// stop ends the process. What it answers to requests that are under way does not arrive.
func (n *restartable) stop() {
	n.mu.Lock()
	p := n.process
	n.process = nil
	n.mu.Unlock()
	if p == nil {
		return
	}
	p.stop()
	p.requests.Wait()
	n.note(p)
	p.verifier.Close()
	p.confirmations.Close()
	if err := p.store.Close(); err != nil {
		n.t.Errorf("the node does not stop: %v", err)
	}
}

// serve answers a request. The response is nil if the node is stopped, and does not arrive if it stops meanwhile.
func (n *restartable) serve(r *http.Request) (w *httptest.ResponseRecorder, arrives bool) {
	n.mu.Lock()
	p := n.process
	if p == nil {
		n.mu.Unlock()
		return nil, false
	}
	p.requests.Add(1)
	n.mu.Unlock()
	defer p.requests.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.open, cancel)()
	w = httptest.NewRecorder()
	p.handler.ServeHTTP(w, r.WithContext(ctx))
	return w, p.open.Err() == nil
}

// running calls f with the process, unless the node is stopped. The process does not stop meanwhile.
func (n *restartable) running(f func(*process)) {
	n.mu.Lock()
	p := n.process
	if p != nil {
		p.requests.Add(1)
	}
	n.mu.Unlock()
	if p != nil {
		defer p.requests.Done()
		f(p)
	}
}

// note notes which edges a process has heard of.
func (n *restartable) note(p *process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range p.confirmations.Edges.List() {
		n.seen[e.ID] = e.Seen
	}
}

// edges are the names of the edges that a change which is made now waits for, whatever process has heard of them.
func (n *restartable) edges() (names []string) {
	n.running(n.note)
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, seen := range n.seen {
		if time.Since(seen) < confirm.LiveFor/2 {
			names = append(names, name)
		}
	}
	return names
}

// prune removes all events but the newest.
func (n *restartable) prune() {
	n.running(func(p *process) {
		if _, err := p.store.PruneEvents(p.open, time.Now().Add(time.Hour), 1); err != nil && p.open.Err() == nil {
			n.t.Errorf("pruning: %v", err)
		}
	})
}
