package adminapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httputil"

	"github.com/talos-edge/talos-edge/core"
)

// sidecarAdmin is the private surface of a sidecar.
type sidecarAdmin struct {
	surface
	proxy *httputil.ReverseProxy
}

// ServeHTTP answers every request.
func (h *sidecarAdmin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	op, err := sidecarRoute(w, r)
	if err == nil {
		err = h.serve(w, r, op, func(w http.ResponseWriter, n Network) error {
			if op != opPass {
				return errNoPath()
			}
			return h.pass(w, r, n)
		})
	}
	if err != nil {
		h.fail(w, r, op, err)
	}
}

// sidecarRoute finds what the sidecar answers by itself, and what passes.
func sidecarRoute(w http.ResponseWriter, r *http.Request) (operation, error) {
	path := plainPath(r)
	on, _ := adminRoute(path)
	switch {
	case on.get == opAlive, on.get == opReady, on.get == opOpenAPI, on.post == opSelfRevoke:
		return on.of(w, r.Method)
	case on.post == opVerify, on.post == opBatchVerify:
		if isEdge(r) {
			return opPass, nil
		}
		return on.of(w, r.Method)
	case on.get == opJWKS:
		return opPass, nil
	}
	// What is spelled in a second way could change a key that it does not seem to name.
	if len(path) > len(adminRoot) && path[:len(adminRoot)] == adminRoot && isPlain(path) {
		return opPass, nil
	}
	return noOperation, errNoPath()
}

// pass hands a request on to the upstream. The body is read first, so that a request which breaks off changes nothing
// there and another address of the upstream can be tried. Once a change is on its way, a caller that goes away does not
// stop it: what became of it would not be known.
func (h *sidecarAdmin) pass(w http.ResponseWriter, r *http.Request, n Network) error {
	if err := h.sidecar.checkMarks(r); err != nil {
		return err
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if r.Method == http.MethodPost {
		if err := checkContentType(r); err != nil {
			return err
		}
	}
	var body []byte
	if !reads {
		var err error
		if body, err = readBody(w, r, passLimit(r.URL.Path)); err != nil {
			return err
		}
	}
	p := &passing{sidecar: h.sidecar, network: n, addr: h.ClientAddr(r), edge: isEdge(r)}
	if err := p.classify(w, r.Method, r.URL.Path, body); err != nil {
		return err
	}
	ctx := r.Context()
	if !reads {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	out := r.WithContext(context.WithValue(ctx, passingKey{}, p))
	out.ContentLength, out.TransferEncoding, out.Trailer = int64(len(body)), nil, nil
	out.Body, out.GetBody = http.NoBody, nil
	if len(body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	h.proxy.ServeHTTP(w, out)
	return p.err
}

func passLimit(path string) int64 {
	if path == importedPath+":batchCreate" {
		return maxBatchBody
	}
	return maxBody
}

// readBody reads a body into memory of its own.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLarge(limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, bodyError(err, limit)
	}
	return body, nil
}

// passedError is what a caller is told when a request that passed got no answer.
func passedError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return core.WrapError(core.DeadlineExceeded, "the upstream did not answer in time", err)
	}
	return core.WrapError(core.Unavailable, "the upstream does not answer", err)
}
