package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/confirm"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Keys are a network's keys. *[engine.Engine] is one.
type Keys interface {
	Issue(ctx context.Context, r engine.IssueRequest) (key core.Key, secret string, err error)
	Get(ctx context.Context, kind core.Kind, keyID string) (core.Key, error)
	Revoke(ctx context.Context, kind core.Kind, keyID string, r engine.RevokeRequest) (core.Key, error)
	RevokeLineage(ctx context.Context, kind core.Kind, keyID string, r engine.RevokeRequest) ([]core.Key, error)
	SelfRevoke(ctx context.Context, credential string, reason core.RevocationReason) (core.Key, error)
	Suspend(ctx context.Context, kind core.Kind, keyID string) (core.Key, error)
	Resume(ctx context.Context, kind core.Kind, keyID string) (core.Key, error)

	Import(ctx context.Context, r engine.ImportRequest) (core.Key, error)
	ImportMany(ctx context.Context, requests []engine.ImportRequest) ([]engine.ImportResult, error)
	List(ctx context.Context, r engine.ListRequest) (engine.ListResult, error)
	Update(ctx context.Context, kind core.Kind, keyID string, r engine.UpdateRequest) (core.Key, error)
	Rotate(ctx context.Context, keyID string, r engine.RotateRequest) (fresh, old core.Key, secret string, err error)
	Delete(ctx context.Context, keyID string) error

	Derive(ctx context.Context, r engine.DeriveRequest) (engine.Derived, error)
	JWKS() json.RawMessage // a JWK set, empty without signing keys; nil: it cannot be read now

	Events(ctx context.Context, r engine.EventsRequest) (engine.EventsResult, error)

	Applied() uint64 // the feed position up to which changes are applied; 0: it cannot be read now
}

// Verifier answers what is known about the key behind a credential. *[verify.Verifier] is one.
type Verifier interface {
	Verify(ctx context.Context, network core.NetworkID, credential string, mode verify.Mode) (verify.Result, error)
	VerifyMany(ctx context.Context, network core.NetworkID, credentials []string, mode verify.Mode) []verify.Result
}

// Holders is what everybody may ask for. Where it is not given, [Keys] answer.
type Holders interface {
	// SelfRevoke revokes the key behind a credential. Of the key that it returns, the id and the actor may be empty:
	// not known.
	SelfRevoke(ctx context.Context, credential string, reason core.RevocationReason) (core.Key, error)

	// KeySet returns the public keys that derived tokens are signed with.
	KeySet(ctx context.Context) (*client.JWKS, error)
}

// Network is one tenant, as the handlers see it. A sidecar has Holders in place of Keys.
type Network struct {
	ID       core.NetworkID
	Keys     Keys
	Holders  Holders
	Verifier Verifier

	// Confirmations know who has applied which change. nil: nobody but this node is known.
	Confirmations *confirm.Confirmations

	// AwaitPosition waits until all changes up to a position of the feed are applied, or ctx ends.
	AwaitPosition func(ctx context.Context, position uint64) error

	// Used notes a use that an edge has reported. It must not block. nil: reports are dropped.
	Used func(core.Use)
}

// holders answers for holders.
func (n *Network) holders() Holders {
	if n.Holders != nil {
		return n.Holders
	}
	return ownKeys{n.Keys}
}

// ownKeys are [Holders] over the keys of a node.
type ownKeys struct{ Keys }

// KeySet reads the key set as the client has it.
func (k ownKeys) KeySet(context.Context) (*client.JWKS, error) {
	raw, own := k.JWKS(), client.KeySet{}
	if raw == nil {
		return nil, core.NewError(core.Unavailable, "the key set cannot be read")
	}
	if err := json.Unmarshal(raw, &own); err != nil {
		return nil, core.WrapError(core.Internal, "the key set is not one", err)
	}
	return &client.JWKS{Keys: own.Keys, JWKS: own}, nil
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

	// Audit gets a line for each change, and now and then one for self-revocations that failed. nil: nobody does.
	Audit *zap.Logger

	// Origin says for the audit log where a request comes from. nil: by its address only.
	Origin func(*http.Request) Origin

	// SelfRevocationFailed is called for each self-revocation that failed, with the reason. May be nil.
	SelfRevocationFailed func(core.Reason)

	// WhenClosing has f called when the server begins to close, unless stop is called before. A server that closes
	// waits for its requests, so those that wait for something end then. nil: they do not.
	WhenClosing func(f func()) (stop func() bool)

	// Outage reports whether there is an outage that has been logged. The calls that fail because of it are
	// then logged at debug. nil: never.
	Outage func() bool

	rare *zap.Logger // Logger, for what would otherwise be said with each request
}

// rarely is how long a logger is silent about what it has said already.
const rarely = 10 * time.Second

// WithDefaults fills in what is nil, but for Network and RateLimiter, and returns the options.
func (o *Options) WithDefaults() Options {
	if o.ClientAddr == nil {
		o.ClientAddr = func(*http.Request) netip.Addr { return netip.Addr{} }
	}
	if o.Ready == nil {
		o.Ready = func(context.Context) error { return nil }
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Audit == nil {
		o.Audit = zap.NewNop()
	}
	if o.Origin == nil {
		o.Origin = func(*http.Request) Origin { return Origin{} }
	}
	if o.SelfRevocationFailed == nil {
		o.SelfRevocationFailed = func(core.Reason) {}
	}
	if o.Outage == nil {
		o.Outage = func() bool { return false }
	}
	o.rare = o.Logger.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, rarely, 1, 0)
	}))
	return *o
}

// surface is what the handlers of both surfaces share.
type surface struct {
	Options

	private bool // only operators call
	failed  *failedRevocations
}

func newSurface(o Options) surface {
	return surface{Options: o.WithDefaults(), failed: new(failedRevocations)}
}

// serve finds the network of a request and has it answered.
func (s *surface) serve(w http.ResponseWriter, r *http.Request, op *Operation, keyID string) error {
	if op.alone {
		return op.handle(s, w, r, Network{}, keyID)
	}
	n, err := s.network(r)
	if err != nil {
		return err
	}
	return s.serveIn(w, r, op, n, keyID)
}

// serveIn has a request of a network answered.
func (s *surface) serveIn(w http.ResponseWriter, r *http.Request, op *Operation, n Network, keyID string) error {
	if s.private && op.Changes != 0 && IsEdge(r) && n.Keys != nil {
		w = &positionWriter{ResponseWriter: w, applied: n.Keys.Applied}
	}
	if op.Changes != 0 {
		if s.private && n.Keys != nil {
			waiting, done, err := s.waitFor(w, r, &n)
			if err != nil {
				return err
			}
			defer done()
			w = waiting
		}
		n = s.audited(r, op, n)
		r = r.WithContext(core.WithCaller(r.Context(), s.feedCaller(r)))
	}
	return op.handle(s, w, r, n, keyID)
}

// network finds the network of a request.
func (s *surface) network(r *http.Request) (Network, error) {
	n, err := s.Network(r)
	if err != nil {
		return n, NetworkError(err)
	}
	return n, nil
}

// NetworkError is the caller's answer when [Options.Network] returns an error.
func NetworkError(err error) error {
	if _, ok := errors.AsType[*core.Error](err); ok {
		return err
	}
	return core.WrapError(core.NotFound, "no network is served under this host; check the host in the URL", err)
}

// fail answers a request with an error and logs it. op is nil where there is no such operation.
func (s *surface) fail(w http.ResponseWriter, r *http.Request, op *Operation, err error) {
	name := "none"
	if op != nil {
		name = op.Name
	}
	s.Fail(w, r, name, err)
	if op != nil && op.Path == selfRevokePath {
		s.selfRevocationFailed(r, asError(err).Reason)
	}
}

// Fail answers a request with an error, as [WriteError] does, and logs it. A refusal, and any error when the caller has
// gone or an outage has been logged, is a line at debug level. The server's own trouble is one at error level,
// and where it only cannot answer at the moment, one in ten seconds. call is the operation's name.
func (o *Options) Fail(w http.ResponseWriter, r *http.Request, call string, err error) {
	WriteError(w, err)
	e := asError(err)
	logger, level, message := o.Logger, zap.DebugLevel, "request refused"
	if status := StatusOf(e.Reason); status >= http.StatusInternalServerError && r.Context().Err() == nil {
		message = "request failed"
		switch {
		case status == http.StatusInternalServerError:
			level = zap.ErrorLevel
		case !o.Outage():
			logger, level = o.rare, zap.ErrorLevel
		}
	}
	if entry := logger.Check(level, message); entry != nil {
		entry.Write(zap.String("call", call), zap.String("reason", string(e.Reason)), zap.Error(err))
	}
}
