package sidecar

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
)

// admin is the private surface of a sidecar.
type admin struct {
	*sidecar
	local   http.Handler
	options adminapi.Options
	proxy   *httputil.ReverseProxy
}

// ServeHTTP answers every request.
func (h *admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := adminapi.PlainPath(r)
	route, keyID := adminapi.Find(path)
	// What is spelled in a second way could change a key that it does not seem to name.
	private := len(path) > len(adminapi.AdminRoot) && strings.HasPrefix(path, adminapi.AdminRoot) &&
		adminapi.IsPlain(path)
	op := route.Of(r.Method)
	local := route.Local() && (!private || !adminapi.IsEdge(r))
	wrongMethod := route != nil && op == nil && keyID == ""
	if local || wrongMethod || route == nil && !private {
		h.local.ServeHTTP(w, r)
		return
	}
	if err := h.pass(w, r, op, keyID); err != nil {
		h.options.Fail(w, r, nameOf(op), err)
	}
}

// nameOf is the name of an operation that passes.
func nameOf(op *adminapi.Operation) string {
	if op == nil {
		return "other"
	}
	return op.Name
}

// pass hands a request on to the upstream; op is nil if the API does not have it. The body is read first, so that a
// request which breaks off changes nothing there and another address of the upstream can be tried. Once a change is on
// its way, a caller that goes away does not stop it: what became of it would not be known.
func (h *admin) pass(w http.ResponseWriter, r *http.Request, op *adminapi.Operation, keyID string) error {
	n, err := h.options.Network(r)
	if err != nil {
		return adminapi.NetworkError(err)
	}
	if err := h.checkMarks(r); err != nil {
		return err
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if r.Method == http.MethodPost {
		if err := body.CheckContentType(r); err != nil {
			return err
		}
	}
	var content []byte
	if !reads {
		if content, err = body.Read(w, r, op.MaxBody()); err != nil {
			return err
		}
	}
	p := &passing{
		admin: h, caller: r, op: op, network: n.ID, addr: h.options.ClientAddr(r), edge: adminapi.IsEdge(r),
	}
	if err := p.classify(w, keyID, content); err != nil {
		return err
	}
	ctx := r.Context()
	if !reads {
		ctx = context.WithoutCancel(ctx)
	}
	var cancel context.CancelFunc
	waits := op != nil && op.Waits
	if waits {
		ctx, cancel = h.options.WhileOpen(ctx)
		w = &boundedWriter{w, http.NewResponseController(w)}
	} else {
		ctx, cancel = context.WithTimeout(ctx, passTimeout+confirmWait(r))
		if confirmWait(r) > 0 && h.options.WhenClosing != nil {
			stop := h.options.WhenClosing(func() { time.AfterFunc(closingTimeout, cancel) })
			defer stop()
		}
	}
	defer cancel()
	out := r.WithContext(context.WithValue(ctx, passingKey{}, p))
	out.ContentLength, out.TransferEncoding, out.Trailer = int64(len(content)), nil, nil
	out.Body, out.GetBody = http.NoBody, nil
	if len(content) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(content))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	}
	h.proxy.ServeHTTP(w, out)
	if waits && p.err != nil && ctx.Err() != nil { // nothing has failed: this server closes
		adminapi.WriteError(w, core.WrapError(core.Unavailable, "this server closes", p.err))
		return nil
	}
	return p.err
}

// closingTimeout is how long a change that waits for edges may still take when the server begins to close. It was sent,
// and is made in any case.
const closingTimeout = 2 * time.Second

// confirmWait is how long the caller of a change has the upstream wait for edges. One that the upstream refuses is 0.
func confirmWait(r *http.Request) time.Duration {
	wait, err := core.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil || wait < 0 || wait > adminapi.MaxConfirmWait {
		return 0
	}
	return wait
}

// passedError is the caller's answer when a request that passed got no answer.
func passedError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return core.WrapError(core.DeadlineExceeded, "the upstream did not answer in time", err)
	}
	return core.WrapError(core.Unavailable, "the upstream does not answer", err)
}
