package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/verify"
)

// maxAnswer is the length of the longest answer that is read, in bytes: a hundred results with all they may hold.
const maxAnswer = 8 << 20

// maxRecords is how many records of keys may be read at once for look-ups.
const maxRecords = 16

// Remote is a [verify.Source] that asks another server. It is safe for concurrent use.
type Remote struct {
	config    Config
	networks  map[core.NetworkID]*network
	pool      *pool
	records   chan struct{} // holds a token for each record that is being read
	forAddrs  *verifyForCalls
	ending    context.Context //nolint:containedctx // of the source, whose calls it cuts short
	stop      context.CancelFunc
	changes   changes
	following *following // nil: the upstream's change feed is not followed
	log       *throttledLog
	outages   *outages

	reportsResume atomic.Int64 // when reports of uses go on after a pause, in Unix nanoseconds
}

// New makes a source of an upstream. It connects to nothing yet. The caller closes it.
func New(config Config) (*Remote, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	u := &Remote{
		config:   config,
		networks: make(map[core.NetworkID]*network),
		records:  make(chan struct{}, maxRecords),
		log:      newThrottledLog(config.Logger),
		outages:  newOutages(&config),
	}
	u.ending, u.stop = context.WithCancel(context.Background())
	u.forAddrs = newVerifyForCalls(config.Timeout, &u.changes.table, u.verifyFor)
	u.changes.floors = make(map[feed.Slot]floor)
	first := Network{ID: config.Network, Prefixes: config.Prefixes, Header: config.Header, Host: config.Host}
	for _, n := range append([]Network{first}, config.Networks...) {
		if err := u.addNetwork(n); err != nil {
			return nil, fmt.Errorf("upstream: %w", err)
		}
	}
	u.pool = &pool{
		timeout: config.Timeout,
		probes:  config.Breaker.Probes,
		reopen:  config.Breaker.Pause,
		report:  u.log.failed,
	}
	for i, endpoint := range config.Addresses {
		a, err := u.newAddress(endpoint)
		if err != nil {
			return nil, fmt.Errorf("upstream: address %d: %w", i+1, err)
		}
		u.pool.addresses = append(u.pool.addresses, a)
	}
	return u, nil
}

func (u *Remote) addNetwork(n Network) error {
	if u.networks[n.ID] != nil {
		return fmt.Errorf("network %s is configured twice", n.ID)
	}
	format, err := credential.NewFormat(n.ID, nil, n.Prefixes)
	if err != nil {
		return err
	}
	if err := checkHeader(n.Header); err != nil {
		return err
	}
	u.networks[n.ID] = &network{id: n.ID, format: format, header: n.Header.Clone(), host: n.Host}
	return nil
}

// newAddress makes the clients and the breaker of an address.
func (u *Remote) newAddress(endpoint string) (*address, error) {
	c, err := u.newClient(endpoint, u.config.TLS)
	if err != nil {
		return nil, err
	}
	settings := u.config.TLS.Clone()
	if settings != nil {
		settings.Certificates, settings.GetClientCertificate = nil, nil
	}
	callers, err := u.newClient(endpoint, settings)
	if err != nil {
		return nil, err
	}
	b, name := u.config.Breaker, nameOf(endpoint)
	return &address{name: name, client: c, callers: callers,
		watch: newAddressWatch(u.config.Logger, name),
		breaker: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Name:        name,
			MaxRequests: b.Probes,
			Timeout:     b.Pause,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= b.Failures },
			IsExcluded:  func(err error) bool { return errors.Is(err, errExcluded) },
			OnStateChange: func(name string, _, to gobreaker.State) {
				u.config.Logger.Debug("the breaker of an upstream's address changes", zap.String("address", name),
					zap.Stringer("state", to))
			},
		}),
	}, nil
}

func (u *Remote) newClient(endpoint string, settings *tls.Config) (*client.Client, error) {
	options := []client.Option{
		client.WithTimeout(0), // each call has a deadline
		client.WithMaxAnswer(maxAnswer),
		client.WithOnlyJSON(),
		client.WithTransportSettings(u.tune),
	}
	if settings != nil {
		options = append(options, client.WithTLS(settings))
	}
	return client.New(endpoint, options...)
}

// tune sets a transport up for a few calls at a time to one server.
func (u *Remote) tune(t *http.Transport) {
	t.Proxy = nil // credentials go to the upstream and nowhere else
	dial, timeout := t.DialContext, u.config.Timeout
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		// A connection that nobody waits for any more is made nevertheless, so this is what ends the attempt.
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return dial(ctx, network, address)
	}
	t.TLSHandshakeTimeout = timeout
	t.ForceAttemptHTTP2 = true
	t.DisableCompression = true
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, u.config.MaxInFlight+maxRecords+maxOut+len(u.networks)
	t.MaxResponseHeaderBytes = 64 << 10
	// One HTTP/2 connection carries all calls, so one that is dead is found out before the next call hangs on it.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: timeout, PingTimeout: timeout / 2}
}

// nameOf is an address without its password.
func nameOf(endpoint string) string {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return "upstream"
	}
	return parsed.Redacted()
}

// Close ends the source: what waits is refused, calls under way are cut short. It returns when they have ended. A
// verifier on top is closed first.
func (u *Remote) Close() {
	u.stop()
	u.following.close()
	u.forAddrs.close()
	u.pool.close()
	u.outages.close()
}

// Positions is the table of the changes that this node knows of: those that passed through it, see [Remote.Forget], and
// those of the upstream's feed, see [Remote.Follow].
func (u *Remote) Positions() *feed.Positions { return &u.changes.table }

// Prepare says which key a credential would belong to, or that it cannot be one. Whether a key is genuine only the
// upstream can tell; of a token nobody can say without reading it, so its claims are not checked.
func (u *Remote) Prepare(id core.NetworkID, cred string) (q verify.Query, final *core.Verdict) {
	q = verify.Query{Network: id, Credential: cred}
	n := u.networks[id]
	if n == nil {
		return q, core.Unknown(id, "", core.UnknownCredentialType)
	}
	own, final := n.newQuery(cred)
	if final != nil {
		q.KeyID = final.KeyID
		return q, final
	}
	q.KeyID, q.Claim, q.Parsed = own.parsed.KeyID, own.claim, own
	return q, nil
}

// Limits are those of a batch, and of the calls that may be out at once.
func (u *Remote) Limits() verify.Limits {
	return verify.Limits{
		Calls: u.config.MaxInFlight, Items: client.MaxBatch, Bytes: client.MaxBatchBytes - client.BatchFrame,
	}
}

// Fit adds the bounds of the wait for this upstream to the configuration of a verifier over it.
func (u *Remote) Fit(c verify.Config) verify.Config {
	c.LookupTimeout, c.MaxWaiting = u.config.Timeout, u.config.MaxQueue
	return c
}

// Admit returns nil when a call could be made now, and otherwise why none would be: the breaker of each address is
// open.
func (u *Remote) Admit() error {
	if f := u.pool.admits(); f != nil {
		u.config.Observer.Called(Call{Result: f.result})
		return f.asError()
	}
	return nil
}

// Lookup asks about credentials of one network with one call, and one more for each address list that is needed. Which
// credentials may share a call is the verifier's to say.
func (u *Remote) Lookup(ctx context.Context, queries []verify.Query) ([]verify.LookupResult, error) {
	if u.ending.Err() != nil {
		return nil, errClosed
	}
	n := u.networks[queries[0].Network]
	parsed := make([]*query, len(queries))
	for i := range queries {
		q, ok := queries[i].Parsed.(*query)
		if !ok || n == nil {
			return nil, unavailable("a query was made by another source", nil, 0)
		}
		parsed[i] = q
	}
	ctx, cancel := u.bounded(ctx)
	defer cancel()
	began := u.changes.table.Applied()
	outcomes := make([]outcome, len(queries))
	u.askBatch(ctx, n, parsed, outcomes)
	all := make([]*lookup, len(queries))
	for i, o := range outcomes {
		all[i] = u.read(n, parsed[i], began, o)
	}
	u.readLists(ctx, n, all)
	results := make([]verify.LookupResult, len(queries))
	for i, l := range all {
		results[i] = verify.LookupResult{Verdict: l.verdict, Err: l.err}
	}
	return results, nil
}

// bounded is a context for a look-up: it ends with the caller's, with the timeout and with the source.
func (u *Remote) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, u.config.Timeout)
	stop := context.AfterFunc(u.ending, cancel)
	return ctx, func() { stop(); cancel() }
}

// VerifyFor asks about a credential for one client address, past queue and cache. It is for a verdict with
// [core.CodeIPNotAllowed]: an upstream that does not understand an edge has judged the edge's own address. The answer
// holds for requests from there that wait for it now, and is not to be remembered. An address that is not known is not
// allowed. What there is no room for fails at once, first when one credential comes from many addresses.
func (u *Remote) VerifyFor(
	ctx context.Context, id core.NetworkID, cred string, addr netip.Addr,
) (*core.Verdict, error) {
	n := u.networks[id]
	if n == nil {
		return core.Unknown(id, "", core.UnknownCredentialType), nil
	}
	q, final := n.newQuery(cred)
	if final != nil {
		return final, nil
	}
	if !addr.IsValid() {
		return &core.Verdict{
			Network: id, KeyID: q.parsed.KeyID, Type: q.credentialType(), Code: core.CodeIPNotAllowed,
		}, nil
	}
	ctx, cancel := u.bounded(ctx)
	defer cancel()
	return u.forAddrs.verify(ctx, n, q, addr.Unmap())
}

// verifyFor makes the calls for [Remote.VerifyFor]: they have a bound of their own, which covers both.
func (u *Remote) verifyFor(ctx context.Context, n *network, q *query, addr netip.Addr) (*core.Verdict, error) {
	began := u.changes.table.Applied()
	a, err := u.single(ctx, n, q, addr)
	l := u.read(n, q, began, outcome{a, err})
	if l.needsList {
		return u.readList(ctx, n, l.verdict)
	}
	return l.verdict, l.err
}

// Ready returns nil when the upstream can be asked and says that it is ready. It counts neither for the breaker nor
// against it.
func (u *Remote) Ready(ctx context.Context) error {
	if f := u.pool.admits(); f != nil {
		return f.asError()
	}
	ctx, cancel := context.WithTimeout(ctx, u.config.Timeout)
	defer cancel()
	f := u.pool.do(ctx, probeCall, func(ctx context.Context, a *address) error {
		return a.client.Ready(ctx, client.Host(u.config.Host))
	})
	if f != nil {
		return unavailable("the upstream is not ready", f, 0)
	}
	return nil
}

// Interface guards.
var _ verify.Source = (*Remote)(nil)
