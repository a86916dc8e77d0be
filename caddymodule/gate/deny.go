package gate

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core"
)

// denial is the answer to a request that does not pass.
type denial struct {
	status    int
	reason    core.Reason
	message   string
	challenge string // of WWW-Authenticate (RFC 6750, section 3), or empty
	err       error  // the same for error routes
}

// statusClientGone is what Caddy's proxy notes for a client that went away; nobody gets it as an answer.
const statusClientGone = 499

// makeDenials prepares the answers. A client learns whether it showed a credential and whether a good one may do this;
// not whether a bad one is unknown, forged, revoked or expired.
func (g *Gate) makeDenials() [reasons]denial {
	scheme := "Bearer"
	for i := range g.From {
		if s := &g.From[i]; s.Scheme != "" {
			scheme = s.Scheme
			break
		}
	}
	challenge := scheme + ` realm="` + g.Realm + `"`
	scopes := strings.Join(append(append([]string(nil), g.Scopes...), g.AnyScope...), " ")

	none := denial{http.StatusUnauthorized, core.CredentialRequired, "an API key is required", challenge, nil}
	invalid := denial{
		http.StatusUnauthorized, core.UnknownCredential, "the API key is not valid",
		challenge + `, error="invalid_token"`, nil,
	}
	denials := [reasons]denial{
		reasonNoCredential: none,
		reasonAmbiguous: {
			http.StatusBadRequest, core.BadRequest, "the request must have exactly one credential",
			challenge + `, error="invalid_request"`, nil,
		},
		reasonMalformed: invalid,
		reasonInvalid:   invalid,
		reasonRevoked:   invalid,
		reasonExpired:   invalid,
		reasonScope: {
			http.StatusForbidden, core.Forbidden, "the API key does not have the scope that this needs",
			challenge + `, error="insufficient_scope", scope="` + scopes + `"`, nil,
		},
		reasonVisibility: {
			http.StatusForbidden, core.Forbidden, "an API key of this visibility is not taken here", "", nil,
		},
		reasonIP: {
			http.StatusForbidden, core.IPNotAllowed, "the API key may not be used from this address", "", nil,
		},
		reasonRateLimit: {
			http.StatusTooManyRequests, core.TooManyRequests, "the API key is used too often at the moment", "", nil,
		},
		reasonHost: {
			http.StatusNotFound, core.NotFound, "no network is served here", "", nil,
		},
		reasonUnavailable: {
			http.StatusServiceUnavailable, core.Unavailable, "the API key cannot be verified at the moment", "", nil,
		},
	}
	for i := range denials {
		denials[i].err = errors.New("talos_gate: " + denials[i].message)
	}
	return denials
}

// deny ends a request. A refusal is no error of the server: it is a debug message and a metric. If the server has
// routes for errors they write the answer, with the headers that are set here; otherwise it is the API's envelope.
func (g *Gate) deny(w http.ResponseWriter, r *http.Request, d *decided) error {
	if d.err != nil && gone(r) {
		return caddyhttp.Error(statusClientGone, errClientGone)
	}
	g.stripCredential(r, d.where) // error routes see no credential, whatever the gate keeps
	o := d.outcome()
	g.note("request denied", d, &o)
	g.tell(r, &o)
	g.setDenialHeaders(w.Header(), d)
	if d.early {
		return caddyhttp.Error(http.StatusTooEarly, errTooEarly)
	}
	answer := &g.denials[d.reason]
	if hasErrorRoutes(r) {
		return caddyhttp.Error(answer.status, answer.err)
	}
	adminapi.WriteStatus(w, answer.status, answer.reason, answer.message)
	return nil
}

// setDenialHeaders sets the headers of the answer to a request that does not pass.
func (g *Gate) setDenialHeaders(h http.Header, d *decided) {
	h.Set("Cache-Control", "no-store")
	g.addVary(h, nil)
	if d.early {
		return
	}
	answer := &g.denials[d.reason]
	if answer.challenge != "" {
		h.Set("Www-Authenticate", answer.challenge)
	}
	switch {
	case d.counted && d.reason == reasonRateLimit:
		adminapi.SetRateLimit(h, d.verdict.RateLimit, &d.limit)
	case answer.status == http.StatusServiceUnavailable, answer.status == http.StatusTooManyRequests:
		h.Set("Retry-After", retryAfter(d.err))
	}
}

// retryAfter is when to try again, in seconds: what the error says, or else soon.
func retryAfter(err error) string {
	if e, ok := errors.AsType[*core.Error](err); ok && e.RetryAfter > time.Second {
		return strconv.FormatInt(int64(math.Ceil(e.RetryAfter.Seconds())), 10)
	}
	return "1"
}

var (
	errClientGone = errors.New("talos_gate: the client went away")
	errTooEarly   = errors.New("talos_gate: the address of the client is not known before the handshake")
)

// note counts and logs a denial.
func (g *Gate) note(message string, d *decided, o *outcome) {
	level, logger, err := zapcore.DebugLevel, g.logger, d.err
	switch {
	case o.decision == decisionUnavailable && !errors.Is(d.err, node.ErrOutage):
		level, logger = zapcore.ErrorLevel, g.rareLogger
	case d.reason == reasonHost && g.pinned != nil:
		level, logger = zapcore.WarnLevel, g.rareLogger
		err = fmt.Errorf("the gate is for the network %s, which is not there or is suspended", g.pinned)
	}
	g.count(d.network, o.decision, o.reason)
	entry := logger.Check(level, message)
	if entry == nil {
		return
	}
	fields := []zap.Field{zap.String("reason", reasonNames[d.reason]), zap.Int("status", g.denials[d.reason].status)}
	if o.keyID != "" {
		fields = append(fields, zap.String("key_id", o.keyID))
	}
	if err != nil {
		fields = append(fields, zap.Error(err))
	}
	entry.Write(fields...)
}

// hasErrorRoutes says whether the server of a request has routes for errors.
func hasErrorRoutes(r *http.Request) bool {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return ok && server != nil && server.Errors != nil && len(server.Errors.Routes) > 0
}

// checkRealm says whether a text can be in a quoted string (RFC 9110, section 5.6.4) as it is.
func checkRealm(realm string) error {
	for _, c := range []byte(realm) {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return errors.New(`must be printable ASCII without " and \`)
		}
	}
	return nil
}
