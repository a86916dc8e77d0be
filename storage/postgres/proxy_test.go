package postgres

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
)

// proxy stands between a store and a server, as a network that may fail.
type proxy struct {
	server   string
	listener net.Listener
	done     sync.WaitGroup

	mu       sync.Mutex
	open     chan struct{} // is closed while messages pass
	links    map[*link]bool
	accepted int  // connections, ever
	deaf     bool // the server does not know LISTEN
	onCommit fault
}

// fault is what happens to the next COMMIT, once.
type fault int

const (
	none       fault = iota
	loseCommit       // it does not reach the server, and the connection breaks
	loseAnswer       // it reaches the server, and the connection breaks before its answer arrives
	holdAnswer       // nothing passes any more from its answer on
)

// link is a connection through a proxy.
type link struct {
	client, server net.Conn
	fault          fault // of the answer that is awaited
}

// newProxy starts a proxy to the server of a DSN, and returns it with the DSN through it.
func newProxy(t *testing.T, dsn string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{server: u.Host, listener: listener, links: make(map[*link]bool), open: make(chan struct{})}
	close(p.open)
	p.done.Go(p.run)
	t.Cleanup(p.close)
	u.Host = listener.Addr().String()
	return p, u.String()
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.pass()
	p.cut()
	p.done.Wait()
}

// failCommit has the next COMMIT fail.
func (p *proxy) failCommit(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onCommit = f
}

// holdAll lets nothing pass from now on. Connections stay open, and new ones are accepted.
func (p *proxy) holdAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open = make(chan struct{})
	default:
	}
}

// pass lets everything pass again, also what was held.
func (p *proxy) pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// await waits while nothing passes.
func (p *proxy) await() {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	<-open
}

func (p *proxy) run() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		l := &link{client: client, server: server}
		p.mu.Lock()
		p.links[l] = true
		p.accepted++
		p.mu.Unlock()
		p.done.Go(func() { p.copy(l, client, server, p.request) })
		p.done.Go(func() { p.copy(l, server, client, p.answer) })
	}
}

// copy passes on what it reads until a connection breaks or judge says so.
func (p *proxy) copy(l *link, from, to net.Conn, judge func(*link, []byte) bool) {
	defer func() {
		l.close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil || !judge(l, b[:n]) {
			return
		}
		p.await()
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// request judges what a client sends.
func (p *proxy) request(l *link, b []byte) bool {
	if at := bytes.Index(b, []byte("LISTEN ")); at >= 0 && p.deaf {
		b[at] = 'X'
	}
	if !bytes.Contains(b, []byte(commit+"\x00")) {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.fault, p.onCommit = p.onCommit, none
	return l.fault != loseCommit
}

// answer judges what a server sends.
func (p *proxy) answer(l *link, _ []byte) bool {
	p.mu.Lock()
	f := l.fault
	l.fault = none
	p.mu.Unlock()
	if f == holdAnswer {
		p.holdAll()
	}
	return f != loseAnswer
}
