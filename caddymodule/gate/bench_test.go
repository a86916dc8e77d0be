package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage" // where the app keeps generated signing keys
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
)

// registerApp makes the app known, which package caddymodule does otherwise.
var registerApp = sync.OnceFunc(func() { caddy.RegisterModule(new(node.App)) })

// benchGate is a gate over a node with a number of keys, all of them in the cache.
func benchGate(b *testing.B, keys int) (gate *Gate, secrets []string) {
	b.Helper()
	return benchGateIn(b, keys, 0)
}

// benchNetworks are the options of a number of networks. The first one's host is that of the requests.
func benchNetworks(n int) string {
	var list []map[string]any
	for i := range n {
		host := fmt.Sprintf("tenant%d.example.com", i)
		if i == 0 {
			host = "api.example.com"
		}
		list = append(list, map[string]any{"id": benchNetwork(i).String(), "hosts": []string{host}})
	}
	text, _ := json.Marshal(list)
	return string(text)
}

func benchNetwork(i int) core.NetworkID {
	return core.NetworkID{0x55, 14: byte(i >> 8), 15: byte(i)}
}

// benchGateIn is benchGate where there are several networks: the keys are those of the first. 0: the node has one.
func benchGateIn(b *testing.B, keys, networks int) (gate *Gate, secrets []string) {
	b.Helper()
	ctx := b.Context()
	dir := filepath.ToSlash(b.TempDir())
	config := fmt.Sprintf(`{
		"admin": {"disabled": true}, "storage": {"module": "file_system", "root": "%s"},
		"apps": {"talos": {
			"storage": "sqlite://%s/talos.db", "hmac_secret": "an HMAC secret for tests, long enough", "networks": %s
		}}
	}`, dir, dir, benchNetworks(networks))
	var network core.NetworkID
	if networks > 0 {
		network = benchNetwork(0)
	}
	registerApp()
	if err := caddy.Load([]byte(config), true); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = caddy.Stop() })
	app := node.Running()
	gate = &Gate{Scopes: []string{"orders:read"}}
	if err := gate.setUp(app, zap.NewNop()); err != nil {
		b.Fatal(err)
	}
	open, ok := app.Hold().(*node.Embedded)
	if !ok {
		b.Fatal("no node")
	}
	defer app.Release()
	e, verifier := open.Keys(network), open.Verifier()
	issued := make(chan string, keys)
	work := make(chan int)
	for range 64 {
		go func() {
			for i := range work {
				_, secret, err := e.Issue(ctx, engine.IssueRequest{
					Name: "a key", ActorID: "actor-" + strconv.Itoa(i), Scopes: []string{"orders:read", "orders:write"},
				})
				if err != nil {
					b.Error(err)
				}
				issued <- secret
			}
		}()
	}
	for i := range keys {
		work <- i
	}
	close(work)
	for range keys {
		secrets = append(secrets, <-issued)
	}
	for range 2 {
		for _, secret := range secrets {
			if _, err := verifier.Verify(ctx, network, secret, verify.Use); err != nil {
				b.Fatal(err)
			}
		}
	}
	// Not in the order in which they came into the cache: the processor would know which one is next.
	rand.Shuffle(len(secrets), func(i, j int) { secrets[i], secrets[j] = secrets[j], secrets[i] })
	return gate, secrets
}

// benchRequest is a request as a browser's or a library's, with ten headers, in a context like Caddy's.
func benchRequest(b *testing.B, secret string) *http.Request {
	b.Helper()
	const target = "http://api.example.com/orders?page=2&sort=asc"
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, target, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.RequestURI = r.URL.RequestURI()
	for name, value := range map[string]string{
		"Accept":          "application/json",
		"Accept-Encoding": "gzip, br",
		"Accept-Language": "en",
		"Authorization":   "Bearer " + secret,
		"Content-Type":    "application/json",
		"Origin":          "https://app.example.com",
		"Referer":         "https://app.example.com/orders",
		"User-Agent":      "Mozilla/5.0 (X11; Linux x86_64)",
		"X-Forwarded-For": "203.0.113.9",
		"X-Request-Id":    "4bf92f3577b34da6",
	} {
		r.Header[name] = []string{value}
	}
	ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, caddyhttp.ServerCtxKey, &caddyhttp.Server{})
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, benchVars())
	ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, http.Request{})
	return r.WithContext(ctx)
}

func benchVars() map[string]any {
	return map[string]any{caddyhttp.ClientIPVarKey: "203.0.113.9", caddyhttp.TrustedProxyVarKey: false, "start_time": 0}
}

// BenchmarkDecision is the hot decision in process: extract, hash, cache, position, policy.
func BenchmarkDecision(b *testing.B) {
	for _, keys := range []int{1, 10_000} {
		gate, lines := benchGate(b, keys)
		for i := range lines {
			lines[i] = "Bearer " + lines[i]
		}
		//nolint:thelper // Helper costs as much as what is measured
		decide := func(b *testing.B, r *http.Request, i int) {
			r.Header["Authorization"][0] = lines[i]
			shown := gate.reader.Find(r)
			credential, wrong := shown.Credential()
			if d := gate.decide(r, credential, wrong); d.reason != reasonOK {
				b.Errorf("reason %s", reasonNames[d.reason])
			}
		}
		b.Run(strconv.Itoa(keys)+"keys", func(b *testing.B) {
			b.ReportAllocs()
			r, i := benchRequest(b, ""), 0
			for b.Loop() {
				decide(b, r, i)
				if i++; i == len(lines) {
					i = 0
				}
			}
		})
		b.Run(strconv.Itoa(keys)+"keys/parallel", func(b *testing.B) {
			b.ReportAllocs()
			var start atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				r, i := benchRequest(b, ""), int(start.Add(7919))%len(lines)
				for pb.Next() {
					decide(b, r, i)
					if i++; i == len(lines) {
						i = 0
					}
				}
			})
		})
	}
}

// BenchmarkNetworks is the hot decision of a node with one network, which every host is of, and of one with several.
func BenchmarkNetworks(b *testing.B) {
	for _, n := range []int{0, 1, 1000} {
		gate, secrets := benchGateIn(b, 1, n)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			r := benchRequest(b, secrets[0])
			for b.Loop() {
				shown := gate.reader.Find(r)
				credential, wrong := shown.Credential()
				if d := gate.decide(r, credential, wrong); d.reason != reasonOK {
					b.Fatalf("reason %s", reasonNames[d.reason])
				}
			}
		})
	}
}

// BenchmarkCredential is the hot decision for each kind of credential: that a token was seen before saves its
// signature's check. What is left of the difference is the hash over a longer text.
func BenchmarkCredential(b *testing.B) {
	gate, secrets := benchGate(b, 1)
	n, ok := gate.app.Hold().(*node.Embedded)
	if !ok {
		b.Fatal("no node")
	}
	defer gate.app.Release()
	e := n.Keys(core.NetworkID{})
	credentials := map[string]string{"key": secrets[0]}
	for name, algorithm := range map[string]engine.TokenAlgorithm{
		"JWT": engine.AlgorithmJWT, "macaroon": engine.AlgorithmMacaroon,
	} {
		made, err := e.Derive(b.Context(), engine.DeriveRequest{Credential: secrets[0], Algorithm: algorithm})
		if err != nil {
			b.Fatal(err)
		}
		credentials[name] = made.Token
	}
	_, limited, err := e.Issue(b.Context(), engine.IssueRequest{
		Name: "n", ActorID: "a", Scopes: []string{"orders:read"},
		RateLimit: core.RateLimitPolicy{Quota: 1 << 30, Window: time.Second},
	})
	if err != nil {
		b.Fatal(err)
	}
	credentials["key with a limit"] = limited
	for _, name := range []string{"key", "key with a limit", "JWT", "macaroon"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := benchRequest(b, credentials[name])
			for b.Loop() {
				shown := gate.reader.Find(r)
				credential, wrong := shown.Credential()
				if d := gate.decide(r, credential, wrong); d.reason != reasonOK {
					b.Fatalf("reason %s", reasonNames[d.reason])
				}
			}
		})
	}
}

// BenchmarkServeHTTP is a request's whole way through the gate, with the identity headers and the placeholders, and the
// writing of those headers, which a proxy does. What a request brings with it is made anew each time: the "request"
// line says what that costs.
func BenchmarkServeHTTP(b *testing.B) {
	for _, keys := range []int{1, 10_000} {
		gate, secrets := benchGate(b, keys)
		rechecking := *gate
		rechecking.Recheck = node.Duration(time.Minute)
		logging := *gate
		logging.logged = true
		lines := make([][]string, keys)
		for i, secret := range secrets {
			lines[i] = []string{"Bearer " + secret}
		}
		for name, g := range map[string]*Gate{
			"gate": gate, "recheck": &rechecking, "logged": &logging, "request": nil,
		} {
			b.Run(strconv.Itoa(keys)+"keys/"+name, func(b *testing.B) { benchServeHTTP(b, g, lines) })
		}
	}
}

// benchServeHTTP has a gate, or none if it is nil, handle requests with credentials.
func benchServeHTTP(b *testing.B, g *Gate, credentials [][]string) {
	b.Helper()
	template := benchRequest(b, "")
	header, w := make(http.Header, 16), newHeaderRecorder()
	vars, ok := template.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if !ok {
		b.Fatal("no variables")
	}
	length := 0
	next := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		for _, values := range r.Header {
			for _, value := range values {
				length += strings.Count(value, "\n") + len(value)
			}
		}
		return nil
	})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		clear(header)
		maps.Copy(header, template.Header)
		header["Authorization"] = credentials[i%len(credentials)]
		clear(w.header)
		delete(vars, identityVar)
		ctx := context.WithValue(template.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
		if g != nil && g.logged {
			ctx = context.WithValue(ctx, caddyhttp.ExtraLogFieldsCtxKey, new(caddyhttp.ExtraLogFields))
		}
		r := template.WithContext(ctx)
		r.Header = header
		var err error
		if g == nil {
			err = next(w, r)
		} else {
			err = g.ServeHTTP(w, r, next)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if g != nil && header.Get("X-Talos-Key-Id") == "" {
		b.Fatal("not admitted")
	}
}
