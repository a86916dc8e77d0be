package gate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
	"github.com/talos-edge/talos-edge/caddymodule/internal/clientaddr"
	"github.com/talos-edge/talos-edge/caddymodule/internal/logging"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
	"github.com/talos-edge/talos-edge/caddymodule/redact"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/policy"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Gate lets a request pass if it has one good API key, and tells the app behind it whose key it is. Any other request
// ends here: 401 without a good key, 400 with more than one, 403 for a key that may not do this, 429 for one that is
// used more often than its rate limit allows, and 503 when nothing can say.
//
// What holds for a key holds for a token that was derived from it: a JWT or a macaroon.
//
// The headers that carry the identity are the gate's own word: whatever a client sends under their prefix or under the
// default one, in any spelling, is stripped from every request of the gate's site, also from those that the gate does
// not see. The site is the hosts that the gate's route of the server matches; without hosts it is the whole server. The
// credential is stripped from the requests that come here, unless KeepCredential says otherwise.
//
// What the gate did is shown by the object `talos` in the access log, by the placeholders `{http.talos.decision}`,
// `.reason`, `.key_id` and `.cache`, and on the span of `tracing`.
//
// Text values may hold placeholders, which are expanded once, when the configuration is loaded.
type Gate struct {
	// Network is the id of the network whose keys are taken, one of those that the app talos names or that are in its
	// database. Default: none, it is the network of the host that a request is for. A request of no network is refused.
	Network string `json:"network,omitempty"`

	// From are the places where a credential may be. A request with more than one credential, in whatever places,
	// is refused. Default: the header `Authorization` with the scheme `Bearer`.
	From []Source `json:"from,omitempty"`

	// Scopes that a key must hold, all of them.
	Scopes []string `json:"scopes,omitempty"`

	// AnyScope are scopes of which a key must hold at least one.
	AnyScope []string `json:"any_scope,omitempty"`

	// Visibility of the keys that are taken: `secret`, `public` or `any`. Default: `secret`.
	Visibility string `json:"visibility,omitempty"`

	// Optional lets a request without any credential pass, without an identity. A bad credential is still refused.
	Optional bool `json:"optional,omitempty"`

	// KeepCredential leaves the credential on the request that the app sees.
	KeepCredential bool `json:"keep_credential,omitempty"`

	// Identity is the prefix of the headers that tell the app who calls: Key-Id, Actor, Scopes, Network and Metadata.
	// It ends in a hyphen. `off` sets none. Whatever it says, headers that a client sends under the default prefix are
	// stripped too, so no credential may be read from one. Default: `X-Talos-`.
	Identity string `json:"identity,omitempty"`

	// IdentityFields are what these headers tell: `key_id`, `actor`, `scopes`, `metadata` and `network`. Default: the
	// first four, and network where there are several.
	IdentityFields []string `json:"identity_fields,omitempty"`

	// Recheck is the interval at which a request that is still running, and a connection that was upgraded from one, is
	// judged again, at least `1s`: by what is known of the key then, by the gate's rules, and for the address that it
	// was admitted with; it does not count towards the key's rate limit. One that would not be admitted any more is
	// closed. Each request costs a timer, and its response is copied without sendfile. Default: 0, a request is judged
	// once.
	Recheck node.Duration `json:"recheck,omitempty"`

	// Realm is named in the WWW-Authenticate header of refusals. Default: `api`.
	Realm string `json:"realm,omitempty"`

	app        authority
	running    func() authority                                   // of the configuration that runs now; nil without one
	pinned     *core.NetworkID                                    // that of Network, or nil
	count      func(network core.NetworkID, d decision, r reason) // in the metrics
	reader     *httpcred.Reader                                   // of From
	rules      policy.Rules
	filter     *httpcred.Filter
	again      *httpcred.Filter  // the same behind another gate, which may have set the default headers
	headers    httpcred.Identity // the identity headers that are set
	logged     bool              // the server has an access log
	denials    [reasons]denial
	logger     *zap.Logger
	rareLogger *zap.Logger // for what would otherwise be said once a request
}

// authority is what a gate needs of the [node.App].
type authority interface {
	// Hold returns the node, which stays open until Release.
	Hold() node.Node
	Release()

	// StaleWindow is for how long a request may go on that nothing can be said about.
	StaleWindow() time.Duration

	// Several reports whether the configuration has several networks, and MayServe whether the node may serve one.
	Several() bool
	MayServe(network core.NetworkID) bool
}

// CaddyModule returns the Caddy module information.
func (*Gate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.talos_gate", New: func() caddy.Module { return new(Gate) }}
}

// Provision expands placeholders, checks the options and finds the app.
func (g *Gate) Provision(ctx caddy.Context) error {
	app, err := node.Of(ctx)
	if err != nil {
		return err
	}
	if err := g.setUp(app, ctx.Logger()); err != nil {
		return err
	}
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		if err := g.join(ctx, server); err != nil {
			return err
		}
	}
	redact.Know(g.reader.Places())
	app.Exposure().Add(ctx, g.reader.Places())
	return nil
}

// join has the server that the gate is in guard the gate's site, and warns of a gate that guards less than it seems to.
func (g *Gate) join(ctx caddy.Context, server *caddyhttp.Server) error {
	g.logged = server.Logs != nil
	switch err := g.guardSite(server); {
	case errors.Is(err, errNotGuarded):
		g.logger.Warn("this talos_gate is in a named route or in error routes, so identity headers that clients send "+
			"are stripped from the requests that it sees only: strip them from the site's others by request_header",
			zap.Strings("prefixes", g.filter.Prefixes()))
	case err != nil:
		return fmt.Errorf("identity: %w", err)
	}
	if handler := answeredBefore(ctx, server); handler != "" {
		g.logger.Warn("a handler before this talos_gate answers every request, so the gate sees none: "+
			"write talos_gate before it", zap.String("handler", handler))
	}
	return nil
}

// setUp makes of the options what a request needs.
func (g *Gate) setUp(app authority, logger *zap.Logger) error {
	g.app, g.running, g.count = app, runningApp, countDecision
	g.logger, g.rareLogger = logger, logging.Seldom(logger)
	if err := g.expand(); err != nil {
		return err
	}
	return g.resolve()
}

// runningApp is the app of the configuration that runs now.
func runningApp() authority {
	if app := node.Running(); app != nil {
		return app
	}
	return nil
}

// ServeHTTP decides about one request. What a client could forge is stripped before the decision.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	shown := g.reader.Find(r)
	vars, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	earlier, again := vars[identityVar].(*identity)
	if again {
		g.again.Strip(r)
	} else {
		g.filter.Strip(r)
	}
	if !g.KeepCredential {
		g.stripCredential(r, shown.Where)
	}
	switch {
	case !ok:
		return caddyhttp.Error(http.StatusInternalServerError, errors.New("talos_gate: a request without variables"))
	case again:
		return g.serveAgain(w, r, next, earlier, shown.Where)
	}
	credential, wrong := shown.Credential()
	d := g.decide(r, credential, wrong)
	switch {
	case d.reason == reasonOK:
		g.count(d.network, decisionAdmitted, reasonOK)
		p := &identity{verdict: d.verdict, now: d.now, credential: credential, cache: d.cache}
		w = g.admit(w, r, vars, p, shown.Where)
		if g.Recheck > 0 {
			return finish(w, g.serveRechecked(w, r, next, p))
		}
	case d.reason == reasonNoCredential && g.Optional:
		g.count(d.network, decisionPassed, reasonNoCredential)
		g.addVary(w.Header(), nil)
		vars[identityVar] = passed{}
		g.tell(r, &outcome{decision: decisionPassed, reason: reasonNoCredential})
	default:
		d.where = shown.Where
		return g.deny(w, r, &d)
	}
	return finish(w, next.ServeHTTP(w, r))
}

// serveAgain is a second gate on the way of a request. It judges the verdict of the first by its own rules: it looks
// for no credential, and neither an admission nor the use of the key is counted again. A key of another network than
// this gate's is none here.
func (g *Gate) serveAgain(
	w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, earlier *identity, where httpcred.Where,
) error {
	network, err := g.network(r)
	d := decided{network: network}
	switch {
	case err != nil:
		d.reason, d.err = reasonOfNetwork(err), err
	case earlier.verdict.Network != network:
		d.reason = reasonInvalid
	default:
		d = g.judge(earlier.verdict, earlier.now, r, nil)
	}
	if d.reason != reasonOK {
		d.where, d.cache = where, earlier.cache
		return g.deny(w, r, &d)
	}
	g.admitAgain(w, r, earlier)
	if g.Recheck > 0 {
		return g.serveRechecked(w, r, next, earlier)
	}
	return next.ServeHTTP(w, r)
}

// decided is what came of a request at a gate.
type decided struct {
	network core.NetworkID // of the request; zero if it is of none
	verdict *core.Verdict  // nil if it did not come to one
	now     time.Time
	cache   verify.Status // where the verdict came from
	reason  reason
	where   httpcred.Where // the sources that have a credential
	early   bool           // the client's address cannot be believed yet
	limit   ratelimit.Result
	counted bool  // limit is the state of the key's limit
	err     error // why nothing can be said
}

// decide goes from the credential of a request, or what is wrong with it, to a decision.
func (g *Gate) decide(r *http.Request, credential string, wrong error) decided {
	n := g.app.Hold()
	defer g.app.Release()
	network, err := g.networkOf(n, r)
	if err != nil {
		return decided{reason: reasonOfNetwork(err), err: err}
	}
	if wrong != nil {
		return decided{network: network, reason: reasonOfCredential(wrong)}
	}
	result, err := n.Verify(r, network, credential)
	d := g.judgeResult(&result, err, r, n.Limiter())
	d.network = network
	return d
}

// network is networkOf with the node of now.
func (g *Gate) network(r *http.Request) (core.NetworkID, error) {
	n := g.app.Hold()
	defer g.app.Release()
	return g.networkOf(n, r)
}

// networkOf is the network whose keys count for a request: the gate's, or else that of the request's host.
func (g *Gate) networkOf(n node.Node, r *http.Request) (core.NetworkID, error) {
	if g.pinned != nil {
		return *g.pinned, n.Serves(*g.pinned)
	}
	return n.Network(r)
}

// reasonOfNetwork is why a request has no network: none that is served is its, or the node is not open.
func reasonOfNetwork(err error) reason {
	if errors.Is(err, networks.ErrUnknown) {
		return reasonHost
	}
	return reasonUnavailable
}

// reasonOfCredential is why a credential is not looked up.
func reasonOfCredential(wrong error) reason {
	switch {
	case errors.Is(wrong, httpcred.ErrNoCredential):
		return reasonNoCredential
	case errors.Is(wrong, httpcred.ErrAmbiguous):
		return reasonAmbiguous
	default:
		return reasonMalformed
	}
}

// judgeResult applies the gate's rules to what a look-up has found.
func (g *Gate) judgeResult(result *verify.Result, err error, r *http.Request, limiter ratelimit.Limiter) decided {
	if err != nil {
		return decided{reason: reasonUnavailable, err: err}
	}
	d := g.judge(result.Verdict, result.Now, r, limiter)
	d.cache = result.Cache
	return d
}

// judge applies the gate's rules to a verdict, and last the key's rate limit: nothing but what would pass is counted.
func (g *Gate) judge(v *core.Verdict, now time.Time, r *http.Request, limiter ratelimit.Limiter) decided {
	d := decided{verdict: v, now: now}
	request := policy.Request{Now: now}
	if v != nil && (len(v.AllowedCIDRs) > 0 || v.Code == core.CodeIPNotAllowed) {
		request.Client = clientaddr.Of(r)
		// In early data the address counts for nothing; Caddy's own address matchers do the same.
		if (v.Code == core.CodeValid || v.Code == core.CodeIPNotAllowed) && clientaddr.InEarlyData(r) {
			d.early, d.reason = true, reasonIP
			return d
		}
	}
	judged := policy.Decide(r.Context(), v, request, &g.rules, limiter)
	d.reason, d.limit, d.counted = reasonOf(judged.Code), judged.Limit, judged.Counted
	return d
}

// reasonOf is the reason for a policy's code. A code that this build does not know is "cannot say".
func reasonOf(code core.Code) reason {
	switch code {
	case core.CodeValid:
		return reasonOK
	case core.CodeNotFound, core.CodeSignatureInvalid:
		return reasonInvalid
	case core.CodeInvalidFormat:
		return reasonMalformed
	case core.CodeRevoked:
		return reasonRevoked
	case core.CodeExpired:
		return reasonExpired
	case core.CodeScopeMissing:
		return reasonScope
	case core.CodeVisibilityDenied:
		return reasonVisibility
	case core.CodeIPNotAllowed:
		return reasonIP
	case core.CodeRateLimited:
		return reasonRateLimit
	case core.CodeInternal:
		return reasonUnavailable
	default:
		return reasonUnavailable
	}
}

// gone says whether the client went away before there was an answer.
func gone(r *http.Request) bool {
	return errors.Is(r.Context().Err(), context.Canceled)
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Gate)(nil)
	_ caddyhttp.MiddlewareHandler = (*Gate)(nil)
	_ authority                   = (*node.App)(nil)
)
