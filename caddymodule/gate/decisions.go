package gate

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// decision is what a gate did with a request, as the metric names it.
type decision uint8

// The decisions of a gate.
const (
	decisionAdmitted    decision = iota // a good credential
	decisionPassed                      // none, at a gate that is optional
	decisionRefused                     // 400, 401, 403 or 429
	decisionUnavailable                 // 503: nothing could say
	decisions
)

// reason is why a gate decided so, as the metric names it. It is for the operator: the answer to a client tells less.
type reason uint8

// The reasons of a decision.
const (
	reasonOK           reason = iota
	reasonNoCredential        // none where one is needed or may be
	reasonAmbiguous           // more than one
	reasonMalformed           // nothing that could be a credential
	reasonInvalid             // unknown, forged or of another network
	reasonRevoked
	reasonExpired
	reasonScope
	reasonVisibility
	reasonIP
	reasonRateLimit // used as often as the key's limit allows
	reasonUnavailable
	reasons
)

var decisionNames = [decisions]string{"admitted", "passed", "refused", "unavailable"}

var reasonNames = [reasons]string{
	reasonOK:           "ok",
	reasonNoCredential: "no_credential",
	reasonAmbiguous:    "ambiguous",
	reasonMalformed:    "malformed",
	reasonInvalid:      "invalid",
	reasonRevoked:      "revoked",
	reasonExpired:      "expired",
	reasonScope:        "scope",
	reasonVisibility:   "visibility",
	reasonIP:           "ip",
	reasonRateLimit:    "rate_limited",
	reasonUnavailable:  "unavailable",
}

// decisionsTotal counts the decisions of all gates of the process, whatever configuration they are of.
var decisionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "talos_gate_decisions_total",
	Help: "What the gates did with requests, and why.",
}, []string{"decision", "reason"})

// decisionCounters are the counters of decisionsTotal.
var decisionCounters = func() (counters [decisions][reasons]prometheus.Counter) {
	for d := range decisions {
		for r := range reasons {
			if expectedReason(d, r) {
				counters[d][r] = decisionsTotal.WithLabelValues(decisionNames[d], reasonNames[r])
			}
		}
	}
	return counters
}()

// registerMetrics shows the metrics of gates in a configuration's registry. Several gates of one share it.
func registerMetrics(registry *prometheus.Registry) error {
	err := registry.Register(decisionsTotal)
	if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !again {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return nil
}

// expectedReason says whether a pair can occur. Such a pair is shown from the beginning, with zero, so that a rate over
// it is right from the first decision on.
func expectedReason(d decision, r reason) bool {
	switch d {
	case decisionAdmitted:
		return r == reasonOK
	case decisionPassed:
		return r == reasonNoCredential
	case decisionUnavailable:
		return r == reasonUnavailable
	default:
		return r != reasonOK && r != reasonUnavailable
	}
}

// countDecision counts one decision of a gate.
func countDecision(d decision, r reason) {
	if d < decisions && r < reasons && decisionCounters[d][r] != nil {
		decisionCounters[d][r].Inc()
	}
}
