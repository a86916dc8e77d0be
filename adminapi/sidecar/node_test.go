package sidecar

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/usage"
	"github.com/talos-edge/talos-edge/core/verify"
)

// upstreamNode is an upstream for tests: look-ups go to a node's engine, everything else over HTTP to a handler.
type upstreamNode struct {
	*node
	host      string // in place of the callers'; empty: theirs
	server    *httptest.Server
	client    *client.Client
	positions feed.Positions

	mu        sync.Mutex
	handler   http.Handler
	down      error // in place of every answer
	httpDown  error // in place of the answers that go over HTTP
	lookedUp  int
	forgotten []string
	place     uint64 // in the upstream's feed, that came with the last of them
	askedFor  []netip.Addr
	verdict   *core.Verdict // of look-ups, in place of the engine's
	keySets   int
}

// sidecarNode is a sidecar of an upstream node. Its callers are where node.from says.
type sidecarNode struct {
	*upstreamNode
	audit    *observer.ObservedLogs
	uses     usage.Recorder // that were reported
	verifier *verify.Verifier
	admin    http.Handler
	public   *adminapi.Public
}

func newSidecarNode(t *testing.T) *sidecarNode {
	t.Helper()
	upstream := &upstreamNode{node: newNode(t)}
	upstream.handler = upstream.admin
	upstream.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upstream.mu.Lock()
		h := upstream.handler
		upstream.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(upstream.server.Close)
	var err error
	if upstream.client, err = client.New(upstream.server.URL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(upstream.client.Close)
	s := &sidecarNode{upstreamNode: upstream}
	if s.verifier, err = verify.New(verify.Config{}, upstream); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.verifier.Close)
	o := adminapi.Options{
		Network: func(*http.Request) (adminapi.Network, error) {
			return adminapi.Network{Verifier: s.verifier, Used: s.uses.Record}, nil
		},
		ClientAddr: func(*http.Request) netip.Addr {
			upstream.node.mu.Lock()
			defer upstream.node.mu.Unlock()
			return upstream.addr
		},
		Ready:  func(context.Context) error { return upstream.trouble() },
		Logger: apitest.DebugLogger(upstream.logs),
		Origin: func(*http.Request) adminapi.Origin {
			return adminapi.Origin{User: "operator-1", RequestID: "request-1"}
		},
	}
	audit, lines := observer.New(zap.DebugLevel)
	o.Audit, s.audit = zap.New(audit), lines
	s.admin = Admin(Options{Options: o, Upstream: upstream})
	s.public = NewPublic(adminapi.PublicOptions{Options: o, Health: true}, upstream)
	return s
}

func (f *upstreamNode) trouble() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (f *upstreamNode) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// answers makes the upstream answer everything that goes over HTTP so.
func (f *upstreamNode) answers(h http.HandlerFunc) { f.set(func() { f.handler = h }) }

func (f *upstreamNode) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	err := errors.Join(f.down, f.httpDown)
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out := r.Clone(r.Context())
	base, carrier := f.client.Target()
	out.URL = &url.URL{Scheme: base.Scheme, Host: base.Host, Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	return carrier.RoundTrip(out)
}

func (f *upstreamNode) Prepare(network core.NetworkID, cred string) (verify.Query, *core.Verdict) {
	q, final := f.engine.Prepare(network, cred)
	if f.verdict != nil {
		q.KeyID = ""
		return q, nil
	}
	return q, final
}

func (f *upstreamNode) Lookup(ctx context.Context, queries []verify.Query) ([]verify.LookupResult, error) {
	f.mu.Lock()
	f.lookedUp += len(queries)
	err, verdict := f.down, f.verdict
	f.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case verdict == nil:
		return f.engine.Lookup(ctx, queries)
	}
	results := make([]verify.LookupResult, len(queries))
	for i := range results {
		results[i].Verdict = verdict
	}
	return results, nil
}

// Limits are the defaults.
func (*upstreamNode) Limits() verify.Limits { return verify.Limits{} }

// Admit lets every call go.
func (*upstreamNode) Admit() error { return nil }

func (f *upstreamNode) Positions() *feed.Positions { return &f.positions }

func (f *upstreamNode) VerifyFor(
	ctx context.Context, network core.NetworkID, cred string, addr netip.Addr,
) (*core.Verdict, error) {
	f.mu.Lock()
	f.askedFor = append(f.askedFor, addr)
	err := f.httpDown
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	q, final := f.engine.Prepare(network, cred)
	if final != nil {
		return final, nil
	}
	results, err := f.engine.Lookup(ctx, []verify.Query{q})
	if err != nil {
		return nil, err
	}
	return results[0].Verdict, results[0].Err
}

func (f *upstreamNode) SelfRevoke(
	ctx context.Context, _ core.NetworkID, cred string, reason client.RevocationReason,
) (uint64, error) {
	if err := f.trouble(); err != nil {
		return 0, err
	}
	var edge client.EdgeAnswer
	err := f.client.SelfRevoke(ctx, client.SelfRevokeRequest{Credential: cred, Reason: reason}, client.Edge(&edge))
	return edge.Position, err
}

func (f *upstreamNode) HostOf(core.NetworkID) string { return f.host }

func (f *upstreamNode) JWKS(ctx context.Context, _ core.NetworkID) (*client.JWKS, error) {
	f.set(func() { f.keySets++ })
	if err := f.trouble(); err != nil {
		return nil, err
	}
	return f.client.JWKS(ctx)
}

// AwaitPosition waits until the test's node is there: it is always.
func (*upstreamNode) AwaitPosition(context.Context, core.NetworkID, uint64) error { return nil }

func (f *upstreamNode) Forget(network core.NetworkID, keyID string, place uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgotten = append(f.forgotten, keyID)
	f.place = place
	position := f.positions.Applied() + 1
	f.positions.Apply(feed.Event{Position: position, Network: network, KeyID: keyID})
}

// everyKey is what ForgetAll leaves among the keys that were forgotten.
const everyKey = "every key"

func (f *upstreamNode) ForgetAll(place uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgotten = append(f.forgotten, everyKey)
	f.place = place
	f.positions.Reset(f.positions.Applied() + 1)
}

// forgets returns what was forgotten since it was last called.
func (f *upstreamNode) forgets() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := f.forgotten
	f.forgotten = nil
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (f *upstreamNode) lookups() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.lookedUp
	f.lookedUp = 0
	return n
}

// publicHandler is the sidecar's public surface with an app behind it that answers 299.
func (s *sidecarNode) publicHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.public.Serve(w, r) {
			w.WriteHeader(299)
		}
	})
}

// verdict verifies through the sidecar and tells what the cache did.
func (s *sidecarNode) ask(t *testing.T, cred string) (v client.VerifyResponse, cache string) {
	t.Helper()
	w := apitest.Post(s.admin, anyPath+":verify", apitest.Marshal(t, client.VerifyRequest{Credential: cred}))
	if w.Code != http.StatusOK {
		t.Fatalf("verify: %d %s", w.Code, w.Body)
	}
	return apitest.Unmarshal[client.VerifyResponse](t, w.Body.Bytes()), w.Header().Get(cacheHeader)
}

// askUntilCached verifies until the verdict comes from the cache, which it enters in a while.
func (s *sidecarNode) askUntilCached(t *testing.T, cred string) (v client.VerifyResponse) {
	t.Helper()
	for {
		v, cache := s.ask(t, cred)
		if cache == "HIT" {
			return v
		}
		runtime.Gosched()
	}
}

// The paths of the API.
const (
	issuedPath     = adminapi.AdminRoot + "issuedApiKeys"
	importedPath   = adminapi.AdminRoot + "importedApiKeys"
	anyPath        = adminapi.AdminRoot + "apiKeys"
	batchPath      = importedPath + ":batchCreate"
	derivePath     = anyPath + ":derive"
	selfRevokePath = "/v2alpha1/apiKeys:selfRevoke"
	jwksPath       = "/v2alpha1/derivedKeys/jwks.json"
	alivePath      = "/health/alive"
	readyPath      = "/health/ready"
)

const (
	cacheHeader = "Ory-Talos-Cache"
	unknownUUID = "00000000-0000-4000-8000-000000000000"

	maxBody      = 1 << 20
	maxBatchBody = 16 << 20
	failureBurst = 10 // failed self-revocations that an address may make at once
)

// node is the upstream's private surface. Its clients are at 192.0.2.7, or where addr says.
type node struct {
	engine *engine.Engine
	admin  http.Handler
	logs   *apitest.LogBuffer

	mu   sync.Mutex
	addr netip.Addr
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{
		engine: apitest.Engine(t, apitest.NewStore(), 0), addr: netip.MustParseAddr("192.0.2.7"),
		logs: &apitest.LogBuffer{},
	}
	verifier, err := verify.New(verify.Config{}, n.engine)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	n.admin = adminapi.Admin(adminapi.Options{
		Network: func(*http.Request) (adminapi.Network, error) {
			return adminapi.Network{Keys: n.engine, Verifier: verifier}, nil
		},
		ClientAddr: func(*http.Request) netip.Addr {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.addr
		},
		Ready:  n.engine.Ready,
		Logger: apitest.DebugLogger(n.logs),
	})
	return n
}

func (n *node) from(addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addr = addr
}

// issue makes a key; fields are added to the request, such as `,"ttl":"1h"`.
func (n *node) issue(t *testing.T, fields string) client.IssueResponse {
	t.Helper()
	w := apitest.Post(n.admin, issuedPath, `{"name":"n","actor_id":"a"`+fields+`}`)
	if w.Code != http.StatusOK {
		t.Fatalf("issue: %d %s", w.Code, w.Body)
	}
	return apitest.Unmarshal[client.IssueResponse](t, w.Body.Bytes())
}
