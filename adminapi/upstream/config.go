package upstream

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/outage"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// The bounds of look-ups where none are configured.
const (
	DefaultTimeout     = 2 * time.Second
	DefaultMaxInFlight = 2
	DefaultMaxQueue    = 10_000
)

// Config says which upstream verdicts come from. Addresses are required; the rest may be zero.
type Config struct {
	// Addresses are where the upstream answers, each http://host:port, https://host or unix:///path, with a path before
	// the API's own if there is one. They are addresses of one upstream: what one says, every other would. One is used
	// until it fails.
	Addresses []string

	// Network is the network of the credentials; Prefixes are the upstream's. They decide which key a credential
	// belongs to, so they have to agree with the upstream.
	Network  core.NetworkID
	Prefixes credential.Prefixes

	// Header is sent with every call that this node makes for itself. It is its own authority, never a caller's.
	Header http.Header

	// Host is sent in place of an address' host, for an upstream that finds the network by it.
	Host string

	// OwnHosts has what a caller asks passed on under the host of its network in place of the caller's own, see
	// [Remote.HostOf].
	OwnHosts bool

	// Networks are further networks behind the same addresses. Their calls share the bounds, taking turns, and nothing
	// else.
	Networks []Network

	// Timeout bounds a look-up: the wait in the queue and the call together. Default DefaultTimeout.
	Timeout time.Duration

	// MaxInFlight is how many batches may be out at once. Default DefaultMaxInFlight: more make the batches smaller.
	MaxInFlight int

	// MaxQueue is how many look-ups may wait; one more fails at once. Default DefaultMaxQueue.
	MaxQueue int

	// NoIPLists says that no key there has a list of addresses that it may be used from. It saves a call per look-up
	// at an upstream that does not understand the edge's extension, and decides nothing at one that does.
	NoIPLists bool

	// TLS says which servers are trusted and with what certificate they are spoken to. nil: the system's authorities.
	TLS *tls.Config

	// Breaker says when an address is not asked for a while.
	Breaker Breaker

	// Logger gets the trouble with the upstream: when it begins to fail and when that is over, and other kinds at most
	// once in ten seconds each. nil: nothing is logged.
	Logger *zap.Logger

	// StaleIfError and Counts are logged with an outage: for how long known keys serve past their
	// lifetime, and how many requests were served and refused. They are the verifier's. Counts may be nil.
	StaleIfError time.Duration
	Counts       func() outage.Counts

	// Observer is told of each call. nil: nobody is.
	Observer Observer

	// EdgeID is the name under which this node follows the upstream's change feed, see [Remote.Follow]; at most
	// client.MaxEdgeID characters. Version is what it says of its own build.
	EdgeID, Version string

	// FollowWait is how long a question for the next change waits for one. It bounds how long ago a node that follows
	// the feed last knew all changes, so it has to be shorter than the lifetime of a verdict. Default 10 s.
	FollowWait time.Duration
}

// Network is one network of several behind an upstream.
type Network struct {
	ID       core.NetworkID
	Prefixes credential.Prefixes
	Header   http.Header // in place of [Config.Header]
	Host     string
}

// Breaker are the settings of the breaker that each address has. Calls cut short, and answers that credentials are not
// valid, are no failures.
type Breaker struct {
	Failures uint32        // in a row until it opens; default 5
	Pause    time.Duration // until it lets probes through; default 1 s
	Probes   uint32        // that have to succeed until it closes, and that are let through at once; default 1
}

// withDefaults fills in what is zero and checks the rest.
func (c Config) withDefaults() (Config, error) {
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, DefaultMaxInFlight)
	c.MaxQueue = cmp.Or(c.MaxQueue, DefaultMaxQueue)
	c.FollowWait = cmp.Or(c.FollowWait, defaultFollowWait)
	c.Breaker.Failures = cmp.Or(c.Breaker.Failures, 5)
	c.Breaker.Pause = cmp.Or(c.Breaker.Pause, time.Second)
	c.Breaker.Probes = cmp.Or(c.Breaker.Probes, 1)
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Observer == nil {
		c.Observer = noObserver{}
	}
	switch {
	case len(c.Addresses) == 0:
		return c, errors.New("an address is required")
	case c.Timeout < 0:
		return c, fmt.Errorf("timeout %s is negative", c.Timeout)
	case c.MaxInFlight < 0:
		return c, fmt.Errorf("max_in_flight %d is negative", c.MaxInFlight)
	case c.MaxQueue < 0:
		return c, fmt.Errorf("max_queue %d is negative", c.MaxQueue)
	case c.FollowWait < 0:
		return c, fmt.Errorf("wait for changes %s is negative", c.FollowWait)
	case c.EdgeID != "" && !client.ValidEdgeID(c.EdgeID):
		return c, fmt.Errorf("edge id %.70q must have 1 to %d printable characters", c.EdgeID, client.MaxEdgeID)
	case c.Breaker.Pause < 0:
		return c, fmt.Errorf("breaker pause %s is negative", c.Breaker.Pause)
	}
	for i, a := range c.Addresses {
		if slices.Contains(c.Addresses[:i], a) {
			return c, fmt.Errorf("address %d repeats an earlier one", i+1)
		}
	}
	return c, nil
}

// reservedHeaders are those that a configuration may not set: what they say is decided here, call by call.
var reservedHeaders = []string{
	"Accept", "Connection", "Content-Length", "Content-Type", "Expect", "Host", "Idempotency-Key", "Talos-Edge",
	"Talos-Edge-Id", "Talos-Edge-Instance", "Talos-Edge-Leaves", "Talos-Edge-Via", "Talos-Feed-Id", "Te",
	"Trailer", "Transfer-Encoding", "Upgrade", "X-Forwarded-For",
}

// checkHeader refuses what cannot be sent, without repeating a value: it may be a secret.
func checkHeader(h http.Header) error {
	for name, values := range h {
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("header %.64q: not a header's name", name)
		case slices.Contains(reservedHeaders, http.CanonicalHeaderKey(name)):
			return fmt.Errorf("header %s: cannot be set", name)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return fmt.Errorf("header %s: its value holds a control character", name)
			}
		}
	}
	return nil
}
