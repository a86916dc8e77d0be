package adminapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Keys are a network's keys. *[core.Engine] is one.
type Keys interface {
	Issue(ctx context.Context, r core.IssueRequest) (key core.Key, secret string, err error)
	Get(ctx context.Context, kind core.Kind, keyID string) (core.Key, error)
	Revoke(ctx context.Context, kind core.Kind, keyID string, r core.RevokeRequest) (core.Key, error)
	SelfRevoke(ctx context.Context, credential string, reason core.RevocationReason) error

	Import(ctx context.Context, r core.ImportRequest) (core.Key, error)
	ImportMany(ctx context.Context, requests []core.ImportRequest) ([]core.ImportResult, error)
	List(ctx context.Context, r core.ListRequest) (core.ListResult, error)
	Update(ctx context.Context, kind core.Kind, keyID string, r core.UpdateRequest) (core.Key, error)
	Rotate(ctx context.Context, keyID string, r core.RotateRequest) (fresh, old core.Key, secret string, err error)
	Delete(ctx context.Context, keyID string) error

	Derive(ctx context.Context, r core.DeriveRequest) (core.Derived, error)
	JWKS() json.RawMessage // a JWK set, empty without signing keys; nil: it cannot be read now

	Applied() uint64 // the feed position up to which changes are believed; 0: it cannot be read now
}

// Verifier answers what is known about the key behind a credential. *[verify.Verifier] is one.
type Verifier interface {
	Verify(ctx context.Context, network core.NetworkID, credential string, mode verify.Mode) (verify.Result, error)
	VerifyMany(ctx context.Context, network core.NetworkID, credentials []string, mode verify.Mode) []verify.Result
}

// Network is one tenant, as the handlers see it.
type Network struct {
	ID       core.NetworkID
	Keys     Keys
	Verifier Verifier
}

// Options say what a surface serves. Network is required.
type Options struct {
	// Network finds the network of a request, from its host and never from its body. An error that is a [core.Error]
	// is answered as what it is; any other, as an unknown network: 404.
	Network func(*http.Request) (Network, error)

	// ClientAddr is the caller's address, as the server resolved it. The zero Addr says that it is not known: keys with
	// an IP list are then refused, and failures count together. nil: never known.
	ClientAddr func(*http.Request) netip.Addr

	// Ready returns nil when the storage answers. nil: always ready.
	Ready func(context.Context) error

	// RateLimiter counts the verifications of keys that have a limit. nil: the limits are shown, and not enforced.
	RateLimiter ratelimit.Limiter

	// Logger gets the server's own trouble (at error) and refusals (at debug). nil: nothing is logged.
	Logger *zap.Logger
}

// surface is what the handlers of both surfaces share.
type surface struct {
	Options

	sidecar *sidecar // nil: the keys are this node's own
}

func newSurface(o Options) surface {
	if o.ClientAddr == nil {
		o.ClientAddr = func(*http.Request) netip.Addr { return netip.Addr{} }
	}
	if o.Ready == nil {
		o.Ready = func(context.Context) error { return nil }
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return surface{Options: o}
}

// fail answers a request with an error and logs it.
func (s *surface) fail(w http.ResponseWriter, r *http.Request, op operation, err error) {
	WriteError(w, err)
	e := asError(err)
	level := zap.DebugLevel
	if StatusOf(e.Reason) >= http.StatusInternalServerError && r.Context().Err() == nil {
		level = zap.ErrorLevel
	}
	if entry := s.Logger.Check(level, "request refused"); entry != nil {
		entry.Write(zap.String("call", op.String()), zap.String("reason", string(e.Reason)), zap.Error(err))
	}
}
