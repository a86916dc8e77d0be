package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// KindKeySet is a call for the public keys of derived tokens.
const KindKeySet Kind = "key_set"

// Passage carries what others ask of the upstream: with their authority and none of this node's. It sends neither
// [Config.Header] nor the certificate of [Config.TLS]. It is safe for concurrent use.
type Passage struct {
	upstream *Upstream
	clients  []*client.Client // by address
}

// Passage makes a passage to the upstream's addresses. The caller closes it.
func (u *Upstream) Passage() (*Passage, error) {
	p := &Passage{upstream: u}
	for i, endpoint := range u.config.Addresses {
		options := []client.Option{client.WithTimeout(0), client.WithTransportSettings(u.tune)}
		if u.config.TLS != nil {
			settings := u.config.TLS.Clone()
			settings.Certificates, settings.GetClientCertificate = nil, nil
			options = append(options, client.WithTLS(settings))
		}
		c, err := client.New(endpoint, options...)
		if err != nil {
			return nil, fmt.Errorf("upstream: address %d: %w", i+1, err)
		}
		p.clients = append(p.clients, c)
	}
	return p, nil
}

// Close closes the connections that no request is using.
func (p *Passage) Close() {
	for _, c := range p.clients {
		c.Close()
	}
}

// RoundTrip carries a request to the address that answers at the moment, and to the next one while no connection can be
// had: then nothing was sent. The request's path and query, host, headers and body are sent as they are; its URL's
// scheme and host are not looked at. A body that is to be sent to a second address needs GetBody.
//
// What is not a GET or HEAD is sent once at most, whatever the caller's headers say of repeating it: the upstream may
// not know them.
func (p *Passage) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }() // each attempt has one of its own
	}
	first := int(p.upstream.pool.current.Load())
	var err error
	for i := range p.clients {
		base, carrier := p.clients[(first+i)%len(p.clients)].Target()
		sent := false
		out := r.WithContext(noteConnection(r.Context(), &sent))
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			out = sentOnce(out)
		}
		target := *base
		target.Path += r.URL.Path
		if base.RawPath != "" || r.URL.RawPath != "" {
			target.RawPath = base.EscapedPath() + r.URL.EscapedPath()
		}
		target.RawQuery = r.URL.RawQuery
		out.URL = &target
		if r.GetBody != nil {
			if out.Body, err = r.GetBody(); err != nil {
				return nil, fmt.Errorf("the body cannot be read again: %w", err)
			}
		}
		var resp *http.Response
		resp, err = carrier.RoundTrip(out)
		if err == nil {
			return resp, nil
		}
		if sent || r.Context().Err() != nil || r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
			break
		}
	}
	return nil, err
}

// sentOnce makes a request that net/http does not send again once its headers were written. Over HTTP/1 it would, for a
// header that calls the request idempotent, which it looks up under the canonical name: another spelling says the same
// to the upstream. Over HTTP/2 it would after a reset of the stream, which may come after the change was made, as often
// as there is one: on the way to the second time the request is canceled.
func sentOnce(r *http.Request) *http.Request {
	ctx, cancel := context.WithCancelCause(r.Context())
	var written atomic.Bool
	out := r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { written.Store(true) },
		GotConn: func(httptrace.GotConnInfo) {
			if written.Load() {
				cancel(errSentBefore)
			}
		},
	}))
	out.Header = r.Header.Clone()
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, there := out.Header[name]; there {
			delete(out.Header, name)
			out.Header[strings.ToLower(name)] = values
		}
	}
	return out
}

var errSentBefore = errors.New("the request was sent and not answered")

// SelfRevoke asks the upstream to revoke the key behind a credential. The call holds these two values and nothing else
// that is this node's or its caller's; the certificate, if there is one, vouches for the connection only. When no
// address may be asked at the moment it fails at once. A refusal is a [client.Error]. The position is for
// [Upstream.Forget].
func (u *Upstream) SelfRevoke(
	ctx context.Context, cred string, reason client.RevocationReason,
) (position uint64, err error) {
	if f := u.pool.admits(); f != nil {
		return 0, f.asError()
	}
	first := int(u.pool.current.Load())
	var edge client.EdgeAnswer
	for i := range u.pool.addresses {
		sent := false
		c := u.pool.addresses[(first+i)%len(u.pool.addresses)].client
		_, err = c.SelfRevoke(noteConnection(ctx, &sent), cred, reason, client.Host(u.config.Host), client.Edge(&edge))
		if err == nil || sent || ctx.Err() != nil {
			break
		}
	}
	return edge.Position, err
}

// JWKS reads the public keys that derived tokens are signed with.
func (u *Upstream) JWKS(ctx context.Context) (*client.JWKS, error) {
	ctx, cancel := context.WithTimeout(ctx, u.config.Timeout)
	defer cancel()
	n := u.networks[u.config.Network]
	var out *client.JWKS
	f := u.do(ctx, KindKeySet, 0, func(ctx context.Context, c *client.Client) (err error) {
		out, _, err = c.JWKS(ctx, n.options()...)
		return err
	})
	if f != nil {
		return nil, f.asError()
	}
	// Some write the set in one of the two places only.
	if len(out.Keys) == 0 {
		out.Keys = out.JWKS.Keys
	}
	if out.Keys == nil {
		out.Keys = []json.RawMessage{}
	}
	out.JWKS.Keys = out.Keys
	return out, nil
}

// noteConnection sets got when a connection was had: from then on a request may have been sent.
func noteConnection(ctx context.Context, got *bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { *got = true }})
}
