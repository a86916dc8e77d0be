package sidecar

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// passing is one request on its way to the upstream. It travels in the request's context.
type passing struct {
	*admin
	caller  *http.Request       // as it came
	op      *adminapi.Operation // nil if the API does not have it
	network core.NetworkID
	addr    netip.Addr // the caller's
	edge    bool       // the caller is an edge
	change  change
	err     error // why there is no answer
}

type passingKey struct{}

func passingOf(r *http.Request) *passing {
	p, _ := r.Context().Value(passingKey{}).(*passing)
	return p
}

// newProxy makes the proxy of everything that passes.
func (h *admin) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:      h.upstream,
		Rewrite:        rewrite,
		ModifyResponse: arrived,
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			p := passingOf(r)
			p.forget(new(created), 0) // it may have happened all the same
			if p.change.lineage {
				p.upstream.ForgetAll(0)
			}
			p.err = passedError(r.Context(), err)
		},
		ErrorLog: zap.NewStdLog(h.options.Logger),
	}
}

// markHeader holds a mark for each sidecar that a request has passed. Without it, a sidecar that is its own upstream,
// or a ring of them, would make endless requests of one.
const (
	markHeader = "Talos-Sidecar"
	maxMarks   = 8
)

// checkMarks refuses a request that has been here, or that has passed too many sidecars.
func (s *sidecar) checkMarks(r *http.Request) error {
	marks := r.Header.Values(markHeader)
	if len(marks) >= maxMarks || slices.Contains(marks, s.mark) {
		return core.NewError(core.Unavailable, "the request goes in a circle: the upstream of this sidecar is a "+
			"sidecar before it, or itself; check the addresses of its option upstream")
	}
	return nil
}

// rewrite makes of the caller's request the one that is sent: the same headers and the same host, or that of the
// network that was found for the request, without what holds for the connection to the sidecar only and without what
// speaks of other proxies.
func rewrite(r *httputil.ProxyRequest) {
	p := passingOf(r.In)
	r.Out.Host = cmp.Or(p.upstream.HostOf(p.network), r.In.Host)
	h := r.Out.Header
	for name := range h {
		if adminapi.IsForwardingHeader(name) || overridesMethod(name) {
			delete(h, name)
		}
	}
	for _, name := range []string{"Connection", "Upgrade", "Te", "Expect"} {
		h.Del(name)
	}
	h.Add(markHeader, p.mark)
	if id := p.edgeID; id != "" && h.Get(client.EdgeIDHeader) != "" && h.Get(client.EdgeViaHeader) == "" {
		h.Set(client.EdgeViaHeader, id) // what an edge acknowledges is passed on, and the edge with it
	}
	if p.change.isOne() {
		h.Set(client.EdgeHeader, "1") // the response then carries the change's feed position
	}
	h.Set("Accept-Encoding", "identity") // the answer may have to be read here
	// A caller on this machine has this machine's address, which the upstream sees. No other may borrow it.
	if addr := p.addr.Unmap().WithZone(""); addr.IsValid() && !addr.IsLoopback() {
		h.Set("X-Forwarded-For", addr.String())
	}
}

// overridesMethod reports whether some servers take the method from a header: what passes as a reading one could change
// a key that is then not forgotten.
func overridesMethod(name string) bool {
	switch strings.ToLower(strings.ReplaceAll(name, "_", "-")) {
	case "x-http-method-override", "x-http-method", "x-method-override":
		return true
	default:
		return false
	}
}

// arrived sees an answer before the caller does: the keys that it names are forgotten here first.
func arrived(resp *http.Response) error {
	p := passingOf(resp.Request)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return errors.New("the upstream switched protocols")
	}
	answer := new(created)
	if p.change.isOne() {
		var err error
		if answer, err = peek(resp); err != nil {
			return err
		}
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		resp.Body = &closingStream{resp.Body, resp.Request.Context().Err}
	}
	position := client.ReadEdgeAnswer(resp.Header).Position
	p.forget(answer, position)
	p.forgetLineage(resp, position)
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		p.record(answer)
	}
	if !p.edge { // the extension is between the upstream and this sidecar
		resp.Header.Del(client.EdgeHeader)
		resp.Header.Del(client.PositionHeader)
		resp.Header.Del(client.ChangedKeysHeader)
	}
	for name := range resp.Header {
		// These speak for the upstream's server and origin; here the sidecar's own listener does.
		switch {
		case strings.HasPrefix(name, "Access-Control-"),
			name == "Alt-Svc", name == "Strict-Transport-Security", name == "Server":
			delete(resp.Header, name)
		}
	}
	if resp.Header.Get("Cache-Control") == "" {
		resp.Header.Set("Cache-Control", "no-store")
	}
	resp.Header.Set("X-Content-Type-Options", "nosniff")
	return nil
}

// maxPeek is how much of an answer is looked at, in bytes.
const maxPeek = 16 << 20

// peek reads which keys the answer to a change names. A longer one still passes, and none of it is looked at.
func peek(resp *http.Response) (*created, error) {
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxPeek))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	resp.Body = &joined{Reader: io.MultiReader(bytes.NewReader(answer), resp.Body), Closer: resp.Body}
	names := new(created)
	if err := json.Unmarshal(answer, names); err != nil {
		names = new(created) // it is not the API's
	}
	return names, nil
}

// joined is a body of which the beginning has been read.
type joined struct {
	io.Reader
	io.Closer
}
