package node

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/core"
)

// AuditLogger is the logger `talos.audit`, which gets a line for each change of a key.
func (a *App) AuditLogger() *zap.Logger { return a.logger.Named("audit") }

// maxRequestID is the length of the longest request id that is taken from a caller. An issued key is longer.
const maxRequestID = 64

// origin is where a request comes from: whom Caddy, or a gate, has authenticated, by which key or certificate, and the
// caller's X-Request-Id or else Caddy's own.
func origin(r *http.Request) adminapi.Origin {
	o := adminapi.Origin{RequestID: requestID(r)}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		o.Certificate = r.TLS.PeerCertificates[0].Subject.String()
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return o
	}
	o.User, _ = repl.GetString("http.auth.user.id")
	if decision, _ := repl.GetString("http.talos.decision"); decision == "admitted" {
		o.KeyID, _ = repl.GetString("http.talos.key_id")
	}
	if o.RequestID == "" {
		o.RequestID, _ = repl.GetString("http.request.uuid")
	}
	return o
}

// requestID is the caller's name for a request, if it is one: letters, digits and `-_.:`.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if len(id) > maxRequestID || strings.Trim(id, requestIDLetters) != "" {
		return ""
	}
	return id
}

const requestIDLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:"

// selfRevocationFailures counts for all surfaces of the process.
var selfRevocationFailures = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "talos_self_revocations_failed_total",
	Help: "Self-revocations that were refused or could not be made, by why.",
}, []string{"reason"})

// selfRevocationReasons are the labels of the reasons; any other reason is unavailable.
var selfRevocationReasons = map[core.Reason]string{
	core.BadRequest:               "malformed",
	core.CredentialRequired:       "malformed",
	core.InvalidKeyFormat:         "malformed",
	core.UnknownCredential:        "malformed",
	core.DerivedTokenNotRevocable: "malformed",
	core.KeyNotFound:              "invalid",
	core.KeyRevoked:               "revoked",
	core.FailedPrecondition:       "revoked",
	core.KeyExpired:               "expired",
	core.TooManyRequests:          "rate_limited",
}

const selfRevocationUnavailable = "unavailable"

// selfRevocationFailed counts a self-revocation that failed.
func selfRevocationFailed(reason core.Reason) {
	label, ok := selfRevocationReasons[reason]
	if !ok {
		label = selfRevocationUnavailable
	}
	selfRevocationFailures.WithLabelValues(label).Inc()
}

func collectSelfRevocations(ch chan<- prometheus.Metric) {
	selfRevocationFailures.WithLabelValues(selfRevocationUnavailable) // present from the start, with zero
	for _, label := range selfRevocationReasons {
		selfRevocationFailures.WithLabelValues(label)
	}
	selfRevocationFailures.Collect(ch)
}
