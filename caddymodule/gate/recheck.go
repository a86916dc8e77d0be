package gate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/internal/clientaddr"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

const (
	// minRecheck is the shortest interval at which a stream is judged again.
	minRecheck = time.Second
)

// stream is an admitted request at a gate with a recheck interval, and the writer of its response. While the request
// runs, or the connection that was upgraded from it is open, it is judged again at that interval. It holds the
// credential in memory for that long.
//
// Closing a stream cancels the context of the request behind the gate, closes an upgraded connection, and lets no byte
// of the response pass any more.
type stream struct {
	*caddyhttp.ResponseWriterWrapper
	gate       *Gate
	asked      *http.Request  // what the judgment needs of the request; handlers do not see it
	network    core.NetworkID // that the request was admitted in
	credential string
	leave      context.CancelFunc // of the request behind the gate
	forget     context.CancelFunc // of the judgment

	judging sync.Mutex // held while the stream is judged; guards timer and sure
	timer   *time.Timer
	sure    time.Time // when it was last judged good, by a verdict that was not stale; zero: never

	stopped atomic.Bool // it is not judged any more
	closed  atomic.Bool // nothing passes any more
	wrote   atomic.Bool // the response has begun

	mu     sync.Mutex // guards what follows
	conn   net.Conn   // what a handler has taken over from the server
	denied decided    // why the stream was closed
}

var errStreamClosed = errors.New("talos_gate: the API key is no longer good for this request")

// serveRechecked serves a request that the gate has admitted and judges it again at the recheck interval. One whose
// response has not begun when it is closed is refused, without error routes, which know it as admitted; the response of
// any other is cut off.
func (g *Gate) serveRechecked(
	w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, admitted *identity,
) error {
	before := maps.Clone(w.Header())
	s, behind := g.newStream(w, r, admitted)
	defer s.tellClosed(r) // also when the proxy panics because it cannot go on
	err := s.serve(next, behind)
	switch {
	case !s.closed.Load(), s.upgraded():
		return err
	case s.wrote.Load():
		panic(http.ErrAbortHandler) // a client must not take what it has for the whole
	}
	clear(w.Header()) // of what was meant for another response
	maps.Copy(w.Header(), before)
	g.setDenialHeaders(w.Header(), &s.denied)
	answer := &g.denials[s.denied.reason]
	adminapi.WriteStatus(w, answer.status, answer.reason, answer.message)
	return nil
}

// newStream makes a stream and the request for the handlers behind the gate, and sets the timer.
func (g *Gate) newStream(w http.ResponseWriter, r *http.Request, admitted *identity) (*stream, *http.Request) {
	ctx, leave := context.WithCancel(r.Context())
	// Handlers may write to the headers and the variables of their request at any time. The address is the one that
	// the request was admitted with, and it has been proved since.
	asking, forget := context.WithCancel(context.WithoutCancel(r.Context()))
	asked := r.WithContext(context.WithValue(asking, caddyhttp.VarsCtxKey, map[string]any{
		caddyhttp.TrustedProxyVarKey: false,
		caddyhttp.ClientIPVarKey:     clientaddr.Of(r).String(),
	}))
	asked.Header, asked.TLS = nil, nil
	s := &stream{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		gate:                  g,
		asked:                 asked,
		network:               admitted.verdict.Network,
		credential:            admitted.credential,
		leave:                 leave,
		forget:                forget,
	}
	if admitted.cache != verify.Stale {
		s.sure = time.Now()
	}
	s.judging.Lock()
	s.timer = time.AfterFunc(time.Duration(g.Recheck), s.recheck)
	s.judging.Unlock()
	return s, r.WithContext(ctx)
}

// serve runs the handlers behind the gate. A connection that they have upgraded and left open is judged until it is
// closed.
func (s *stream) serve(next caddyhttp.Handler, r *http.Request) error {
	defer func() {
		s.leave()
		if !s.upgraded() {
			s.stop()
		}
	}()
	return next.ServeHTTP(s, r)
}

// tellClosed records why the stream was closed, if it was.
func (s *stream) tellClosed(r *http.Request) {
	if s.closed.Load() {
		o := s.denied.outcome()
		s.gate.tell(r, &o)
	}
}

// recheck judges the stream again and closes it if it would not be admitted now. That nothing can say is no verdict: as
// long as stale_if_error allows, counted from the end of the interval that began when it was last known to be good, the
// stream goes on.
func (s *stream) recheck() {
	s.judging.Lock()
	defer s.judging.Unlock()
	if s.stopped.Load() {
		return
	}
	d := s.judge()
	interval := time.Duration(s.gate.Recheck)
	switch {
	case s.stopped.Load():
		return
	case d.reason == reasonOK && d.cache != verify.Stale:
		s.sure = time.Now()
	case d.reason == reasonOK:
	case d.reason == reasonUnavailable && time.Since(s.sure) < interval+s.gate.app.StaleWindow():
	default:
		s.close(&d)
		return
	}
	s.timer.Reset(interval)
}

// judge applies the gate's rules to what is known of the key now. It asks the configuration that runs now: a stream
// outlives its own, whose node may be closed, and may be over another database. Nothing is counted towards the key's
// rate limit.
func (s *stream) judge() decided {
	app := s.gate.running()
	if app == nil {
		return decided{
			network: s.network, reason: reasonUnavailable,
			err: core.NewError(core.Unavailable, "the running configuration has no node"),
		}
	}
	n := app.Hold()
	defer app.Release()
	result, err := n.Verify(s.asked, s.network, s.credential)
	d := s.gate.judgeResult(&result, err, s.asked, nil)
	d.network = s.network
	return d
}

// close ends the stream for a reason.
func (s *stream) close(d *decided) {
	o := d.outcome()
	s.gate.note("stream closed", d, &o)
	s.mu.Lock()
	s.denied = *d
	s.closed.Store(true)
	conn := s.conn
	s.mu.Unlock()
	s.leave()
	if conn != nil {
		_ = conn.Close()
	}
}

// stop ends the judging and waits for one that is under way.
func (s *stream) stop() {
	s.stopped.Store(true)
	s.forget()
	s.judging.Lock()
	s.timer.Stop()
	s.judging.Unlock()
}

// upgraded says whether the connection was taken over from the server, which then writes no response.
func (s *stream) upgraded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// WriteHeader begins the response, unless the stream is closed. Informational responses may come before.
func (s *stream) WriteHeader(status int) {
	if s.closed.Load() {
		return
	}
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		s.wrote.Store(true)
	}
	s.ResponseWriterWrapper.WriteHeader(status)
}

// Write writes to the response, unless the stream is closed.
func (s *stream) Write(p []byte) (int, error) {
	if s.closed.Load() {
		return 0, errStreamClosed
	}
	s.wrote.Store(true)
	return s.ResponseWriterWrapper.Write(p) //nolint:wrapcheck // a writer is transparent
}

// ReadFrom copies by Write: a faster way would pass everything without a look at the stream.
func (s *stream) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{s}, r) //nolint:wrapcheck // a writer is transparent
}

// FlushError flushes the response, unless the stream is closed.
func (s *stream) FlushError() error {
	if s.closed.Load() {
		return errStreamClosed
	}
	s.wrote.Store(true)
	if err := http.NewResponseController(s.ResponseWriter).Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	return nil
}

// Hijack hands out the connection, which is closed with the stream.
func (s *stream) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("taking over the connection: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	if s.closed.Load() {
		_ = conn.Close()
		return nil, nil, errStreamClosed
	}
	return &upgradedConn{conn, s}, buffer, nil
}

// upgradedConn is a connection that its handler has taken over. Closing it ends the judging.
type upgradedConn struct {
	net.Conn
	stream *stream
}

// Close closes the connection.
func (c *upgradedConn) Close() error {
	err := c.Conn.Close()
	c.stream.stop()
	return err //nolint:wrapcheck // a connection is transparent
}

// CloseWrite closes the writing half, for which Caddy's proxy asks at the end of what the app sends.
func (c *upgradedConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite() //nolint:wrapcheck // a connection is transparent
}

// Interface guards.
var (
	_ http.Hijacker = (*stream)(nil)
	_ io.ReaderFrom = (*stream)(nil)
)
