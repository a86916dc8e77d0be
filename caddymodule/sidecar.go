package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/upstream"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/verify"
)

// checkSidecar refuses options that only a node with keys of its own can have.
func (a *App) checkSidecar() error {
	for _, o := range []struct {
		name  string
		given bool
	}{
		{"issuer", a.Issuer != "" || len(a.RetiredIssuers) > 0},
		{"storage", a.Storage != ""},
		{"hmac_secret", a.HMACSecret != "" || len(a.RetiredHMACSecrets) > 0},
		{"signing_keys", a.SigningKeys != "" || a.ActiveKid != ""},
		{"default_ttl", a.DefaultTTL != 0},
		{"max_ttl", a.MaxTTL != 0},
		{"clock_skew", a.ClockSkew != nil},
		{"key_quota", a.KeyQuota != 0},
	} {
		if a.Upstream != nil && o.given {
			return fmt.Errorf("%s: has no meaning beside upstream, where the keys are", o.name)
		}
	}
	return nil
}

// resolveSidecar is resolve for a node without keys.
func (a *App) resolveSidecar() (settings, error) {
	s := settings{prefixes: a.prefixes(), upstream: a.Upstream}
	if err := a.checkSidecar(); err != nil {
		return s, err
	}
	if len(a.Upstream.Addresses) == 0 {
		return s, errors.New("upstream: an address is required")
	}
	if err := a.Upstream.check(); err != nil {
		return s, fmt.Errorf("upstream: %w", err)
	}
	var err error
	if s.rateLimit, err = rateLimitMode(a.RateLimit); err != nil {
		return s, fmt.Errorf("rate_limit: %w", err)
	}
	if s.cache, err = a.Cache.resolve(); err != nil {
		return s, fmt.Errorf("cache: %w", err)
	}
	if _, err := credential.NewFormat(core.NetworkID{}, nil, s.prefixes); err != nil {
		return s, err
	}
	u, err := upstream.New(a.Upstream.config(s.prefixes)) // connects to nothing
	if err != nil {
		return s, err
	}
	u.Close()
	return s, nil
}

// sealSidecar is seal for a node without keys. It reads the files with certificates; a reload after the authorities
// have changed makes another node.
func (s *settings) sealSidecar() error {
	_, authorities, err := s.upstream.tls()
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	s.key = s.hash(append([]string{"upstream", string(authorities)}, s.upstream.fields()...))
	return nil
}

// openSidecar makes a node over an upstream. It connects to nothing yet: an upstream that is down does not keep the
// node from starting.
func openSidecar(s *settings) (*node, error) {
	config := s.upstream.config(s.prefixes)
	var err error
	if config.TLS, _, err = s.upstream.tls(); err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	config.Logger = currentLogger("talos.upstream")
	config.Observer = upstreamMeter{}
	u, err := upstream.New(config)
	if err != nil {
		return nil, err
	}
	verifier, err := verify.New(u.Fit(s.cache), u)
	if err != nil {
		u.Close()
		return nil, fmt.Errorf("cache: %w", err)
	}
	return &node{upstream: u, verifier: verifier}, nil
}

// verify says what is known about the key behind a credential, for a request.
func (n *node) verify(r *http.Request, cred string) (verify.Result, error) {
	result, ok := n.verifier.Cached(n.network, cred)
	if ok {
		return result, nil
	}
	result, err := n.verifier.Verify(verify.WithClient(r.Context(), clientOf(r)), n.network, cred, verify.Use)
	if err != nil || result.Verdict.Code != core.CodeIPNotAllowed {
		return result, err
	}
	return n.verifyFor(r, cred, result)
}

// verifyFor asks an upstream that has judged this node's own address again, for the client's. An address that the
// client has not proved yet is not asked about.
func (n *node) verifyFor(r *http.Request, cred string, result verify.Result) (verify.Result, error) {
	if n.upstream == nil || inEarlyData(r) {
		return result, nil
	}
	verdict, err := n.upstream.VerifyFor(r.Context(), n.network, cred, clientOf(r))
	if err != nil {
		return verify.Result{}, err
	}
	result.Verdict, result.Now = verdict, time.Now()
	return result, nil
}

// inEarlyData tells whether the client's address has not been proved: in QUIC's 0-RTT (RFC 8470).
func inEarlyData(r *http.Request) bool { return r.TLS != nil && !r.TLS.HandshakeComplete }

// farKeys is the upstream of the app's node, as the surfaces see it. It holds the node for each call.
type farKeys struct{ app *App }

// RoundTrip carries a caller's own request.
func (f farKeys) RoundTrip(r *http.Request) (*http.Response, error) {
	return with(f.app, func(n *node) (*http.Response, error) { return n.upstream.RoundTrip(r) })
}

// Identify says which key a credential would belong to.
func (f farKeys) Identify(network core.NetworkID, cred string) (keyID string, final *core.Verdict) {
	keyID, err := with(f.app, func(n *node) (id string, err error) {
		id, final = n.upstream.Identify(network, cred)
		return id, nil
	})
	if err != nil {
		f.app.logger.Error("a credential cannot be identified", zap.Error(err))
	}
	return keyID, final
}

// VerifyFor asks on behalf of an address.
func (f farKeys) VerifyFor(
	ctx context.Context, network core.NetworkID, cred string, addr netip.Addr,
) (*core.Verdict, error) {
	return with(f.app, func(n *node) (*core.Verdict, error) { return n.upstream.VerifyFor(ctx, network, cred, addr) })
}

// SelfRevoke has a holder's key revoked.
func (f farKeys) SelfRevoke(ctx context.Context, cred string, reason client.RevocationReason) (uint64, error) {
	return with(f.app, func(n *node) (uint64, error) { return n.upstream.SelfRevoke(ctx, cred, reason) })
}

// JWKS reads the public keys of derived tokens.
func (f farKeys) JWKS(ctx context.Context) (*client.JWKS, error) {
	return with(f.app, func(n *node) (*client.JWKS, error) { return n.upstream.JWKS(ctx) })
}

// Forget forgets a key on every node of the process: during a reload, a change may pass through one and be remembered
// by another.
func (farKeys) Forget(network core.NetworkID, keyID string, position uint64) {
	live.forget(network, keyID, position)
}

// forget tells the nodes with an upstream that a key may have changed.
func (l *registry) forget(network core.NetworkID, keyID string, position uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.nodes {
		if n.upstream != nil {
			n.upstream.Forget(network, keyID, position)
		}
	}
}

// Interface guard.
var _ adminapi.Upstream = farKeys{}
