package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a core.Store in memory.
type memory struct {
	mu        sync.Mutex
	keys      map[string]core.Key
	order     []string // of the keys, by their creation
	positions feed.Positions
	position  uint64
	writes    int
	down      error // in place of every answer
}

func newMemory() *memory { return &memory{keys: map[string]core.Key{}} }

func (m *memory) setDown(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

func (m *memory) written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

func (m *memory) Get(_ context.Context, network core.NetworkID, keyID string) (core.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return core.Key{}, m.down
	}
	k, ok := m.keys[network.String()+"/"+keyID]
	if !ok {
		return core.Key{}, core.NewError(core.KeyNotFound, "no such key")
	}
	return k, nil
}

func (m *memory) GetMany(
	ctx context.Context, network core.NetworkID, keyIDs []string,
) (map[string]core.Key, error) {
	found := map[string]core.Key{}
	for _, id := range keyIDs {
		k, err := m.Get(ctx, network, id)
		switch {
		case err == nil:
			found[id] = k
		case core.ReasonOf(err) != core.KeyNotFound:
			return nil, err
		}
	}
	return found, nil
}

func (*memory) ClaimSecret(context.Context, core.NetworkID, []string) error { return nil }

func (m *memory) Positions() *feed.Positions { return &m.positions }

func (m *memory) Ping(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down
}

func (*memory) Close() error { return nil }

// node is a server with both surfaces over a store in memory. Its clients are at 192.0.2.7, or where addr says.
type node struct {
	store    *memory
	engine   *core.Engine
	verifier *verify.Verifier
	admin    http.Handler
	public   *Public
	logs     *syncBuffer

	mu   sync.Mutex
	addr netip.Addr
}

const (
	testSecret  = "an HMAC secret for the tests of adminapi"
	unknownUUID = "00000000-0000-4000-8000-000000000000"
)

// setup says how a node differs from the usual one.
type setup struct {
	quota   int64
	limiter ratelimit.Limiter
}

func newNode(t *testing.T) *node {
	t.Helper()
	return newNodeWith(t, setup{})
}

// signingKeys are those of every node: to make them takes time.
var signingKeys = sync.OnceValue(func() *credential.SigningKeys {
	set, err := credential.GenerateSigningKeys()
	if err != nil {
		panic(err)
	}
	keys, err := credential.ParseSigningKeys(set, "")
	if err != nil {
		panic(err)
	}
	return keys
})

func newNodeWith(t *testing.T, s setup) *node {
	t.Helper()
	n := &node{store: newMemory(), addr: netip.MustParseAddr("192.0.2.7"), logs: &syncBuffer{}}
	keyring, err := credential.NewKeyring(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	n.engine, err = core.NewEngine(core.EngineConfig{
		Keyring: keyring, Prefixes: credential.Prefixes{Public: "ory_pub"}, Issuer: "https://issuer.example",
		SigningKeys: signingKeys(), KeyQuota: s.quota,
	}, n.store)
	if err != nil {
		t.Fatal(err)
	}
	n.verifier, err = verify.New(verify.Config{}, n.engine)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.verifier.Close)
	o := Options{
		Network: func(*http.Request) (Network, error) {
			return Network{Keys: n.engine, Verifier: n.verifier}, nil
		},
		ClientAddr: func(*http.Request) netip.Addr {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.addr
		},
		Ready:       n.engine.Ready,
		RateLimiter: s.limiter,
		Logger:      debugLogger(n.logs),
	}
	n.admin = Admin(o)
	n.public = NewPublic(PublicOptions{Options: o, Health: true})
	return n
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

// request makes a request with a JSON body, unless that is empty.
func request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func post(h http.Handler, path, body string) *httptest.ResponseRecorder {
	return serve(h, request(http.MethodPost, path, body))
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	return serve(h, request(http.MethodGet, path, ""))
}

// issue makes a key; fields are added to the request, such as `,"ttl":"1h"`.
func (n *node) issue(t *testing.T, fields string) client.IssueResponse {
	t.Helper()
	w := post(n.admin, issuedPath, `{"name":"n","actor_id":"a"`+fields+`}`)
	if w.Code != http.StatusOK {
		t.Fatalf("issue: %d %s", w.Code, w.Body)
	}
	return unmarshal[client.IssueResponse](t, w.Body.Bytes())
}

func (n *node) verify(t *testing.T, cred string) client.VerifyResponse {
	t.Helper()
	w := post(n.admin, anyPath+":verify", marshal(t, client.VerifyRequest{Credential: cred}))
	if w.Code != http.StatusOK {
		t.Fatalf("verify: %d %s", w.Code, w.Body)
	}
	return unmarshal[client.VerifyResponse](t, w.Body.Bytes())
}

func unmarshal[T any](t *testing.T, b []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return v
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wantError checks the whole of an error's answer but for its message.
func wantError(t *testing.T, w *httptest.ResponseRecorder, status int, reason core.Reason) client.ErrorBody {
	t.Helper()
	if w.Code != status {
		t.Fatalf("got %d %s, want %d %s", w.Code, w.Body, status, reason)
	}
	wantHeaders(t, w)
	e := unmarshal[client.ErrorResponse](t, w.Body.Bytes()).Error
	if e.Code != status || e.Message == "" || e.Status == "" || len(e.Details) != 1 {
		t.Fatalf("incomplete envelope %s", w.Body)
	}
	if d := e.Details[0]; d.Reason != string(reason) || d.Type != client.ErrorInfoType || d.Domain != client.ErrorDomain {
		t.Fatalf("got details %+v, want reason %s", d, reason)
	}
	return e
}

func wantHeaders(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// errDown is a store that does not answer, with a detail that must not be shown.
func errDown() error {
	return core.WrapError(core.Unavailable, "the database does not answer", errors.New("disk-detail"))
}

// syncBuffer is a buffer for logs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (*syncBuffer) Sync() error { return nil }

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func debugLogger(to *syncBuffer) *zap.Logger {
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), to, zap.DebugLevel))
}
