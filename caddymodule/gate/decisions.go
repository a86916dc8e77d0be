package gate

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core"
)

// decision is what a gate did with a request, as the metric names it.
type decision uint8

// The decisions of a gate.
const (
	decisionAdmitted    decision = iota // a good credential
	decisionPassed                      // none, at a gate that is optional
	decisionRefused                     // 400, 401, 403, 404 or 429
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
	reasonHost      // a host of no network
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
	reasonHost:         "unknown_host",
	reasonUnavailable:  "unavailable",
}

// decisionsTotal counts the decisions of all gates of the process, whatever configuration they are of. The label
// network is the id, or empty for the network of a node that has only one, and where a request is of none.
var decisionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "talos_gate_decisions_total",
	Help: "What the gates did with requests, and why.",
}, []string{"decision", "reason", "network"})

// decisionCounters are the counters of one network.
type decisionCounters [decisions][reasons]prometheus.Counter

// newCounters makes the counters of a network.
func newCounters(network core.NetworkID) *decisionCounters {
	label := node.NetworkLabel(network)
	counters := new(decisionCounters)
	for d := range decisions {
		for r := range reasons {
			if expectedReason(d, r) {
				counters[d][r] = decisionsTotal.WithLabelValues(decisionNames[d], reasonNames[r], label)
			}
		}
	}
	return counters
}

// counterSet has the counters of each network that there was a decision in. A network that is not served any more keeps
// its own, as the metric does.
type counterSet struct {
	alone   *decisionCounters // of the network of a node that has only one
	mu      sync.Mutex        // held while a network is added to several
	several atomic.Pointer[map[core.NetworkID]*decisionCounters]
}

var counters = newCounterSet()

func newCounterSet() *counterSet {
	s := &counterSet{alone: newCounters(core.NetworkID{})}
	s.several.Store(&map[core.NetworkID]*decisionCounters{})
	return s
}

// of returns the counters of a network without a lock, but for its first decision.
func (s *counterSet) of(network core.NetworkID) *decisionCounters {
	if network == (core.NetworkID{}) {
		return s.alone
	}
	if known := (*s.several.Load())[network]; known != nil {
		return known
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(*s.several.Load())
	if next[network] == nil {
		next[network] = newCounters(network)
	}
	s.several.Store(&next)
	return next[network]
}

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
func countDecision(network core.NetworkID, d decision, r reason) {
	if d >= decisions || r >= reasons {
		return
	}
	if counter := counters.of(network)[d][r]; counter != nil {
		counter.Inc()
	}
}
