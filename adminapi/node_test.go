package adminapi

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/confirm"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/usage"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a server with both surfaces over a store in memory. Its clients are at 192.0.2.7, or where addr says.
type node struct {
	store    *apitest.Store
	engine   *engine.Engine
	verifier *verify.Verifier
	admin    http.Handler
	public   *Public
	logs     *apitest.LogBuffer
	audit    *observer.ObservedLogs
	edges    *confirm.Confirmations
	uses     usage.Recorder // that were reported

	closing context.Context // ends when the server begins to close; nil: it does not
	origin  Origin          // of every request

	mu     sync.Mutex
	addr   netip.Addr
	failed []core.Reason // of self-revocations
	outage bool          // there is one, and it was logged
}

// setup says how a node differs from the usual one.
type setup struct {
	quota   int64
	limiter ratelimit.Limiter
}

func newNode(t *testing.T) *node {
	t.Helper()
	return newNodeWith(t, setup{})
}

func newNodeWith(t *testing.T, s setup) *node {
	t.Helper()
	n := &node{
		store: apitest.NewStore(), addr: netip.MustParseAddr("192.0.2.7"), logs: &apitest.LogBuffer{},
		origin: Origin{User: "operator-1", RequestID: "request-1"},
	}
	n.engine = apitest.Engine(t, n.store, s.quota)
	var err error
	if n.verifier, err = verify.New(verify.Config{}, n.engine); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.verifier.Close)
	n.edges = confirm.New(t.Context(), n.store, "this node", "")
	t.Cleanup(n.edges.Close)
	o := Options{
		Network: func(*http.Request) (Network, error) {
			return Network{
				Keys: n.engine, Verifier: n.verifier, Confirmations: n.edges, AwaitPosition: n.engine.AwaitPosition,
				Used: n.uses.Record,
			}, nil
		},
		ClientAddr: func(*http.Request) netip.Addr {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.addr
		},
		Ready:       n.engine.Ready,
		RateLimiter: s.limiter,
		Logger:      apitest.DebugLogger(n.logs),
		Origin:      func(*http.Request) Origin { return n.origin },
		WhenClosing: func(f func()) (stop func() bool) {
			if n.closing == nil {
				return func() bool { return true }
			}
			return context.AfterFunc(n.closing, f)
		},
		SelfRevocationFailed: func(reason core.Reason) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.failed = append(n.failed, reason)
		},
		Outage: func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.outage
		},
	}
	audit, lines := observer.New(zap.DebugLevel)
	o.Audit, n.audit = zap.New(audit), lines
	n.admin = Admin(o)
	n.public = NewPublic(PublicOptions{Options: o, Health: true})
	return n
}

// failedRevocations are the reasons of the self-revocations that failed.
func (n *node) failedRevocations() []core.Reason {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.failed)
}

func (n *node) from(addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addr = addr
}

// publicHandler is the public surface with an app behind it that answers 299.
func (n *node) publicHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !n.public.Serve(w, r) {
			w.WriteHeader(299)
		}
	})
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

func (n *node) verify(t *testing.T, cred string) client.VerifyResponse {
	t.Helper()
	w := apitest.Post(n.admin, anyPath+":verify", apitest.Marshal(t, client.VerifyRequest{Credential: cred}))
	if w.Code != http.StatusOK {
		t.Fatalf("verify: %d %s", w.Code, w.Body)
	}
	return apitest.Unmarshal[client.VerifyResponse](t, w.Body.Bytes())
}

const unknownUUID = "00000000-0000-4000-8000-000000000000"
