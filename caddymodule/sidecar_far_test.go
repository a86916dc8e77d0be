package caddymodule_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/confirm"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
	"github.com/talos-edge/talos-edge/storage"
)

// farServer is an upstream on a socket of its own, which can be killed and brought back on the same port. It notes what
// it was asked.
type farServer struct {
	t       *testing.T
	addr    string
	handler http.Handler

	mu     sync.Mutex
	server *http.Server
	asked  []*http.Request
	reply  func(http.ResponseWriter, *http.Request) bool // answers in place of handler, or returns false
}

func newFarServer(t *testing.T, handler http.Handler) *farServer {
	t.Helper()
	f := &farServer{t: t, addr: freeport.Addr(t), handler: handler}
	f.start()
	t.Cleanup(f.kill)
	return f
}

func (f *farServer) start() {
	f.t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	server := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	f.mu.Lock()
	f.server = server
	f.mu.Unlock()
	go func() { _ = server.Serve(l) }()
}

// kill closes the socket and every connection.
func (f *farServer) kill() {
	f.mu.Lock()
	server := f.server
	f.mu.Unlock()
	_ = server.Close()
}

func (f *farServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Clone(context.Background()))
	reply := f.reply
	f.mu.Unlock()
	if reply == nil || !reply(w, r) {
		f.handler.ServeHTTP(w, r)
	}
}

// answers sets what answers in place of the handler; nil: nothing.
func (f *farServer) answers(reply func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reply = reply
}

// to returns the requests for paths with a suffix, since it was last called.
func (f *farServer) to(suffix string) (found []*http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = slices.DeleteFunc(f.asked, func(r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
		found = append(found, r)
		return true
	})
	return found
}

func (f *farServer) url() string { return "http://" + f.addr }

// newFarNode is a node of ours with keys, over a socket: the private surface of package adminapi.
func newFarNode(t *testing.T) *farServer {
	t.Helper()
	store, err := storage.Open(t.Context(), "sqlite://"+filepath.ToSlash(filepath.Join(t.TempDir(), "far.db")),
		storage.Options{Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	keyring, err := credential.NewKeyring(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	signing, err := credential.ParseSigningKeys(newSigningKeys(t, "far"), "")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := engine.New(engine.Config{Keyring: keyring, SigningKeys: signing}, store)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := verify.New(verify.Config{}, keys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	limiter, err := ratelimit.NewMemory(0)
	if err != nil {
		t.Fatal(err)
	}
	confirmations := confirm.New(t.Context(), store, "far", "")
	t.Cleanup(confirmations.Close)
	return newFarServer(t, adminapi.Admin(adminapi.Options{
		Network: func(*http.Request) (adminapi.Network, error) {
			return adminapi.Network{Keys: keys, Verifier: verifier, Confirmations: confirmations}, nil
		},
		ClientAddr: func(r *http.Request) netip.Addr {
			peer, err := netip.ParseAddrPort(r.RemoteAddr)
			if err != nil {
				return netip.Addr{}
			}
			return peer.Addr()
		},
		Ready:       keys.Ready,
		RateLimiter: limiter,
	}))
}

// plainAPI is a stand-in of another implementation: it knows nothing of edges, judges the address that it is called
// from or told of, and asks for a token.
type plainAPI struct {
	mu   sync.Mutex
	keys map[string]*client.IssuedAPIKey // by credential
}

const sidecarToken = "Bearer the-sidecars-own"

// add makes a key that may be used from some ranges, or from anywhere.
func (p *plainAPI) add(cred string, cidrs ...string) (id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := &client.IssuedAPIKey{
		KeyID: credential.ImportedKeyID(core.NetworkID{}, cred), ActorID: "someone", Status: client.KeyStatusActive,
	}
	if len(cidrs) > 0 {
		key.IPRestriction = &client.IPRestriction{AllowedCIDRs: cidrs}
	}
	if p.keys == nil {
		p.keys = map[string]*client.IssuedAPIKey{}
	}
	p.keys[cred] = key
	return key.KeyID
}

func (p *plainAPI) verify(cred string, from netip.Addr) client.VerifyResponse {
	key := p.keys[cred]
	if key == nil {
		return client.VerifyResponse{ErrorCode: client.VerificationErrorNotFound}
	}
	out := client.VerifyResponse{
		KeyID: key.KeyID, ActorID: key.ActorID, Status: key.Status, Visibility: client.KeyVisibilitySecret,
	}
	switch {
	case cred == "its-own-limit":
		out.IsValid, out.RateLimitPolicy = true, &client.RateLimitPolicy{Quota: 1, Window: "60s"}
	case cred == "limited":
		out.ErrorCode = client.VerificationErrorRateLimited
	case key.Status != client.KeyStatusActive:
		out.ErrorCode = client.VerificationErrorRevoked
	case key.IPRestriction != nil && !slices.ContainsFunc(key.IPRestriction.AllowedCIDRs, func(s string) bool {
		return netip.MustParsePrefix(s).Contains(from)
	}):
		out.ErrorCode = client.VerificationErrorIPNotAllowed
	default:
		out.IsValid = true
	}
	return out
}

func (p *plainAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	peer := netip.MustParseAddrPort(r.RemoteAddr).Addr()
	if told := r.Header.Get("X-Forwarded-For"); told != "" {
		peer = netip.MustParseAddr(told)
	}
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	path := strings.TrimPrefix(r.URL.Path, "/v2alpha1/")
	authorized := r.Header.Get("Authorization")
	id, verb, _ := strings.Cut(strings.TrimPrefix(path, "admin/importedApiKeys/"), ":")
	switch {
	case path == "apiKeys:selfRevoke":
		var in client.SelfRevokeRequest
		_ = json.NewDecoder(r.Body).Decode(&in)
		if key := p.keys[in.Credential]; key != nil {
			key.Status = client.KeyStatusRevoked
		}
		answer(200, struct{}{})
	case path == "/health/ready":
		answer(200, client.Health{Status: "ok"})
	case authorized != sidecarToken && authorized != "Bearer an-operators":
		answer(401, map[string]any{"error": map[string]any{"code": 401, "message": "who are you"}})
	case path == "admin/apiKeys:verify":
		var in client.VerifyRequest
		_ = json.NewDecoder(r.Body).Decode(&in)
		answer(200, p.verify(in.Credential, peer))
	case path == "admin/apiKeys:batchVerify":
		var in client.BatchVerifyRequest
		_ = json.NewDecoder(r.Body).Decode(&in)
		var out client.BatchVerifyResponse
		for _, item := range in.Requests {
			out.Results = append(out.Results, p.verify(item.Credential, peer))
		}
		answer(200, out)
	case strings.HasPrefix(path, "admin/importedApiKeys/"):
		for _, key := range p.keys {
			if key.KeyID != id {
				continue
			}
			if verb == "revoke" {
				key.Status = client.KeyStatusRevoked
				answer(200, struct{}{})
				return
			}
			answer(200, key)
			return
		}
		answer(404, map[string]any{"error": map[string]any{"code": 404, "message": "no such key",
			"details": []any{map[string]any{"reason": "API_KEY_NOT_FOUND"}}}})
	default:
		answer(404, map[string]any{"error": map[string]any{"code": 404, "message": "nothing here"}})
	}
}

// sidecarSites are a private surface with a gated path at PORT, and a public surface at PUBLIC.
const sidecarSites = `http://:PORT {
	bind 127.0.0.1
	route /gated {
		talos_gate
		respond "{http.auth.user.id}"
	}
	talos_admin {
		allow 10.0.0.0/8
	}
}
http://:PUBLIC {
	bind 127.0.0.1
	talos_public {
		health
	}
	respond 404
}`

// sidecar is a Caddy without keys of its own.
type sidecar struct {
	*solo
	public string
}

// startSidecar runs a sidecar of an upstream. options stand in the upstream's block, cache in the cache's.
func startSidecar(t *testing.T, upstream, options, cache string) *sidecar {
	t.Helper()
	s := &sidecar{solo: newSolo(t), public: freeport.Addr(t)}
	s.reload(upstream, options, cache)
	return s
}

func (s *sidecar) reload(upstream, options, cache string) {
	s.t.Helper()
	if cache != "" {
		cache = "cache {\n" + cache + "\n}"
	}
	s.mustLoad(fmt.Sprintf("servers {\ntrusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict\n}\n"+
		"talos {\n%s\nupstream %s {\n%s\n}\n}", cache, upstream, options),
		strings.ReplaceAll(sidecarSites, "PUBLIC", portOf(s.public)))
}

// call calls the API of the sidecar; header is a list of names and values.
func (s *sidecar) call(method, addr, path, body string, header ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := newClient(s.t).Do(req) //nolint:bodyclose // readAnswer closes it
	if err != nil {
		s.t.Fatal(err)
	}
	return readAnswer(s.t, res)
}

// gatedFrom calls the gated path on behalf of a client at an address.
func (s *sidecar) gatedFrom(addr, secret string) answer {
	s.t.Helper()
	return s.call(http.MethodGet, s.addr, "/gated", "", "Authorization", "Bearer "+secret, "X-Forwarded-For", addr)
}

// until repeats something until it is so, for at most half a minute.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	late := time.After(30 * time.Second)
	for !so() {
		select {
		case <-ticks.C:
		case <-late:
			t.Fatalf("it is still not so that %s", what)
		}
	}
}
