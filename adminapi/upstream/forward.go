package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// RoundTrip carries a caller's request to the upstream: with the caller's authority and none of this node's, so neither
// [Config.Header] nor the certificate of [Config.TLS] is sent. The request's path and query, host, headers and body are
// sent as they are; its URL's scheme and host are not looked at. A body needs GetBody.
//
// It goes to the address that answers at the moment, and to the next one while no connection can be had: then nothing
// was sent. What is not a GET or HEAD is sent once at most, whatever the caller's headers say of repeating it: the
// upstream may not know them.
func (u *Remote) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }() // each attempt has one of its own
	}
	f := u.pool.do(r.Context(), onceCall, func(ctx context.Context, a *address) error {
		out := r.WithContext(ctx)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			out = sentOnce(out)
		}
		base, carrier := a.callers.Target()
		out.URL = targetOf(base, r.URL)
		out.Body = nil
		if r.GetBody != nil {
			if out.Body, err = r.GetBody(); err != nil {
				err = fmt.Errorf("the body cannot be read again: %w", err)
				return err
			}
		}
		resp, err = carrier.RoundTrip(out) //nolint:bodyclose // the caller closes it
		if err != nil && !errors.Is(err, errSentBefore) {
			err = client.WithoutAnswer(err)
		}
		return err
	})
	if f != nil {
		return nil, err
	}
	return resp, nil
}

// targetOf is a request's path and query under the base of an address.
func targetOf(base, u *url.URL) *url.URL {
	target := *base
	target.Path += u.Path
	if base.RawPath != "" || u.RawPath != "" {
		target.RawPath = base.EscapedPath() + u.EscapedPath()
	}
	target.RawQuery = u.RawQuery
	return &target
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

// SelfRevoke asks the upstream to revoke the key of a network behind a credential. The call holds these values and
// nothing else that is this node's or its caller's; the certificate, if there is one, vouches for the connection only.
// When no address may be asked at the moment it fails at once. A refusal is a [client.Error]. The position is for
// [Remote.Forget].
func (u *Remote) SelfRevoke(
	ctx context.Context, network core.NetworkID, cred string, reason client.RevocationReason,
) (position uint64, err error) {
	n := u.networks[network]
	if n == nil {
		return 0, errNoNetwork
	}
	if f := u.pool.admits(); f != nil {
		return 0, f.asError()
	}
	var edge client.EdgeAnswer
	_ = u.pool.do(ctx, onceCall, func(ctx context.Context, a *address) error {
		err = a.client.SelfRevoke(ctx, client.SelfRevokeRequest{Credential: cred, Reason: reason},
			client.Host(n.host), client.Edge(&edge))
		return err
	})
	return edge.Position, err
}

var errNoNetwork = unavailable("the network is not one of this node's upstream", nil, 0)

// HostOf is the host under which what a caller asks of a network is passed on. It is empty without [Config.OwnHosts]:
// the caller's.
func (u *Remote) HostOf(network core.NetworkID) string {
	if n := u.networks[network]; n != nil && u.config.OwnHosts {
		return n.host
	}
	return ""
}

// JWKS reads the public keys that a network's derived tokens are signed with.
func (u *Remote) JWKS(ctx context.Context, network core.NetworkID) (*client.JWKS, error) {
	n := u.networks[network]
	if n == nil {
		return nil, errNoNetwork
	}
	ctx, cancel := context.WithTimeout(ctx, u.config.Timeout)
	defer cancel()
	var out *client.JWKS
	f := u.observed(ctx, 0, func(ctx context.Context, c *client.Client) (err error) {
		out, err = c.JWKS(ctx, n.options()...)
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
