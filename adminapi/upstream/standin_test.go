package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/verify"
)

// standIn is a plain server of the API, as far as an edge uses it, that can be made to misbehave.
type standIn struct {
	mu       sync.Mutex
	edge     bool   // it understands the extension
	position uint64 // that it names
	results  map[string]map[string]any
	lists    map[string][]string // address lists by key id
	fault    func(w http.ResponseWriter, r *http.Request, body []byte) (done bool)
	change   func([]map[string]any) []map[string]any // spoils the results of a batch
	asked    []asked
}

// asked is one request that came.
type asked struct {
	path        string
	header      http.Header
	host        string
	credentials []string
	bytes       int
}

func newStandIn() *standIn {
	return &standIn{results: make(map[string]map[string]any), lists: make(map[string][]string)}
}

var testKeyring = func() *credential.Keyring {
	k, err := credential.NewKeyring(strings.Repeat("s", 32))
	if err != nil {
		panic(err)
	}
	return k
}()

// mint makes a key that no server knows yet.
func mint(tb testing.TB) (cred, keyID string) {
	tb.Helper()
	f, err := credential.NewFormat(core.NetworkID{}, testKeyring, credential.Prefixes{})
	if err != nil {
		tb.Fatal(err)
	}
	id := uuid.New()
	cred, err = f.Mint(id, time.Now(), false)
	if err != nil {
		tb.Fatal(err)
	}
	return cred, id.String()
}

// good is the result of a valid key.
func good(keyID string) map[string]any {
	return map[string]any{
		"is_valid": true, "key_id": keyID, "actor_id": "actor of " + keyID, "scopes": []string{"a:read", "b"},
		"metadata": map[string]any{"plan": "gold"}, "status": "KEY_STATUS_ACTIVE",
		"visibility": "KEY_VISIBILITY_SECRET",
		"issuer":     "http://localhost",
	}
}

func bad(code client.VerificationErrorCode) map[string]any {
	return map[string]any{"is_valid": false, "error_code": string(code), "error_message": "no"}
}

// refusedAs makes a result say that the credential is not valid.
func refusedAs(code string) func(result map[string]any) {
	return func(r map[string]any) { r["is_valid"], r["error_code"] = false, code }
}

// add makes the server know a new key and returns its credential.
func (s *standIn) add(tb testing.TB, change func(result map[string]any)) (cred, keyID string) {
	tb.Helper()
	cred, keyID = mint(tb)
	r := good(keyID)
	if change != nil {
		change(r)
	}
	s.set(func() { s.results[cred] = r })
	return cred, keyID
}

func (s *standIn) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// calls are the requests to a path that came so far.
func (s *standIn) calls(suffix string) []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	var calls []asked
	for _, a := range s.asked {
		if strings.HasSuffix(a.path, suffix) {
			calls = append(calls, a)
		}
	}
	return calls
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var in client.BatchVerifyRequest
	_ = json.Unmarshal(body, &in)
	var one client.VerifyRequest
	_ = json.Unmarshal(body, &one)
	a := asked{path: r.URL.Path, header: r.Header.Clone(), host: r.Host, bytes: len(body)}
	if one.Credential != "" {
		in.Requests = []client.VerifyRequest{one}
	}
	for _, item := range in.Requests {
		a.credentials = append(a.credentials, item.Credential)
	}
	s.mu.Lock()
	s.asked = append(s.asked, a)
	fault := s.fault
	s.mu.Unlock()
	if fault != nil && fault(w, r, body) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	understood := s.edge && r.Header.Get("Talos-Edge") == "1"
	if understood {
		w.Header().Set("Talos-Edge", "1")
		w.Header().Set("Talos-Position", strconv.FormatUint(s.position, 10))
	}
	switch {
	case strings.HasSuffix(r.URL.Path, ":batchVerify"):
		results := make([]map[string]any, len(a.credentials))
		for i, c := range a.credentials {
			results[i] = s.result(c, understood)
		}
		if s.change != nil {
			results = s.change(results)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"results": results})
	case strings.HasSuffix(r.URL.Path, ":verify"):
		_ = json.NewEncoder(w).Encode(s.result(a.credentials[0], understood))
	case strings.HasPrefix(r.URL.Path, "/health/"):
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	default:
		s.record(w, path.Base(r.URL.Path))
	}
}

// result is what the server says of a credential. mu is held.
func (s *standIn) result(cred string, understood bool) map[string]any {
	r, ok := s.results[cred]
	if !ok {
		return bad(client.VerificationErrorNotFound)
	}
	if id, _ := r["key_id"].(string); understood && s.lists[id] != nil {
		copied := map[string]any{"ip_restriction": map[string]any{"allowed_cidrs": s.lists[id]}}
		for name, value := range r {
			copied[name] = value
		}
		return copied
	}
	return r
}

// record answers with a key's record. mu is held.
func (s *standIn) record(w http.ResponseWriter, keyID string) {
	for _, r := range s.results {
		if r["key_id"] == keyID {
			record := map[string]any{"key_id": keyID, "status": r["status"]}
			if s.lists[keyID] != nil {
				record["ip_restriction"] = map[string]any{"allowed_cidrs": s.lists[keyID]}
			}
			_ = json.NewEncoder(w).Encode(record)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, `{"error":{"details":[{"reason":"API_KEY_NOT_FOUND"}]}}`)
}

// serve runs a handler at an address; an empty one is a free port.
func serve(tb testing.TB, h http.Handler, at string) *httptest.Server {
	tb.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	if at != "" {
		_ = server.Listener.Close()
		var lc net.ListenConfig
		l, err := lc.Listen(tb.Context(), "tcp", at)
		if err != nil {
			tb.Fatal(err)
		}
		server.Listener = l
	}
	server.Start()
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// patience is for calls that are to succeed, however busy the machine is.
const patience = 30 * time.Second

// open makes an upstream with a short breaker, and a log to look into.
func open(tb testing.TB, change func(*Config), addresses ...string) (*Remote, *observer.ObservedLogs) {
	tb.Helper()
	logger, logs := observer.New(zapcore.DebugLevel)
	c := Config{
		Addresses: addresses, Timeout: patience, Logger: zap.New(logger),
		Breaker: Breaker{Pause: 20 * time.Millisecond},
	}
	if change != nil {
		change(&c)
	}
	u, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(u.Close)
	return u, logs
}

// verifying puts a verifier on top of a source.
func verifying(tb testing.TB, u *Remote, config verify.Config) *verify.Verifier {
	tb.Helper()
	v, err := verify.New(u.Fit(config), u)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.Close)
	return v
}

// eventually waits until something holds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	for !holds() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			tb.Fatal("never: " + what)
		}
	}
}

// noSecret fails when a text that leaves the process holds one of the credentials.
func noSecret(tb testing.TB, logs *observer.ObservedLogs, errs []error, creds ...string) {
	tb.Helper()
	var b bytes.Buffer
	for _, entry := range logs.All() {
		_, _ = fmt.Fprintln(&b, entry.Message, entry.ContextMap())
	}
	for _, err := range errs {
		_, _ = fmt.Fprintln(&b, err)
	}
	if i := slices.IndexFunc(creds, func(c string) bool { return strings.Contains(b.String(), c) }); i >= 0 {
		tb.Errorf("credential %d is in\n%s", i+1, b.String())
	}
}

// callCounter counts calls by their results.
type callCounter struct {
	mu     sync.Mutex
	counts map[Result]int
}

// Called counts a call.
func (c *callCounter) Called(call Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[Result]int)
	}
	c.counts[call.Result]++
}

// all is a copy of the counts.
func (c *callCounter) all() map[Result]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

// expect fails when a verifier does not give a credential a verdict with a code. when says at what point of a test.
func expect(tb testing.TB, v *verify.Verifier, cred string, want core.Code, when string) {
	tb.Helper()
	expectIn(tb, v, core.NetworkID{}, cred, want, when)
}

// expectIn is expect in a network.
func expectIn(
	tb testing.TB, v *verify.Verifier, network core.NetworkID, cred string, want core.Code, when string,
) {
	tb.Helper()
	r, err := v.Verify(tb.Context(), network, cred, verify.Use)
	if err != nil {
		tb.Errorf("%s: %v", when, err)
	} else if r.Verdict.Code != want {
		tb.Errorf("%s: got %+v", when, r.Verdict)
	}
}
