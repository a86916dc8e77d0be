package httpcred_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/policy"
	"github.com/talos-edge/talos-edge/core/verify"
	"github.com/talos-edge/talos-edge/storage"
)

// A net/http program without Caddy has a gate of its own, over keys in an SQLite database.
func Example() {
	dir, err := os.MkdirTemp("", "talos-example-")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	dsn := "sqlite://" + filepath.ToSlash(filepath.Join(dir, "keys.db"))
	secret := "an HMAC secret for examples, long enough"

	store, err := storage.Open(ctx, dsn, storage.Options{})
	check(err)
	defer func() { _ = store.Close() }()
	keyring, err := credential.NewKeyring(secret)
	check(err)
	keys, err := engine.New(engine.Config{Keyring: keyring}, store)
	check(err)
	check(keys.Claim(ctx)) // with another secret than the database's, no key would verify
	verifier, err := verify.New(verify.Config{}, keys)
	check(err)
	defer verifier.Close()

	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "hello %s, %q", r.Header.Get("X-Talos-Actor"), r.Header.Get("Authorization"))
	})
	gated, err := requireKey(verifier, policy.Rules{Scopes: []string{"orders:read"}}, app)
	check(err)

	_, reader, err := keys.Issue(ctx, engine.IssueRequest{
		Name: "ci", ActorID: "alice", Scopes: []string{"orders:read"},
	})
	check(err)
	_, stranger, err := keys.Issue(ctx, engine.IssueRequest{Name: "ci", ActorID: "bob"})
	check(err)
	for _, credentials := range [][]string{nil, {reader, reader}, {"nonsense"}, {stranger}, {reader}} {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/orders", nil)
		r.Header.Set("X_Talos_Actor", "root") // forged
		for _, c := range credentials {
			r.Header.Add("Authorization", "Bearer "+c)
		}
		w := httptest.NewRecorder()
		gated.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			fmt.Println(w.Code, w.Body)
		} else {
			fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
		}
	}

	// Output:
	// 401 Bearer realm="api"
	// 401 Bearer realm="api"
	// 401 Bearer realm="api", error="invalid_token"
	// 403 Bearer realm="api", error="insufficient_scope"
	// 200 hello alice, ""
}

// requireKey lets requests with a good API key through to an app, and tells it whose they are.
func requireKey(verifier *verify.Verifier, rules policy.Rules, app http.Handler) (http.Handler, error) {
	reader, err := httpcred.NewReader() // Authorization: Bearer <key>
	if err != nil {
		return nil, err
	}
	filter, err := httpcred.NewFilter(reader.Headers(), httpcred.DefaultPrefix)
	if err != nil {
		return nil, err
	}
	identity, err := httpcred.NewIdentity(httpcred.DefaultPrefix)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found := reader.Find(r)
		reader.Strip(r, found.Where) // before anything is decided
		filter.Strip(r)              // what a client could forge

		cred, err := found.Credential()
		if err != nil {
			refuse(w, http.StatusUnauthorized, "")
			return
		}
		result, err := verifier.Verify(r.Context(), core.NetworkID{}, cred, verify.Use)
		if err != nil { // the database does not answer: this is no verdict
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		peer, _ := netip.ParseAddrPort(r.RemoteAddr)
		switch policy.Judge(result.Verdict, policy.Request{Now: result.Now, Client: peer.Addr()}, &rules) {
		case core.CodeValid:
			identity.Set(r.Header, result.Verdict)
			app.ServeHTTP(w, r)
		case core.CodeScopeMissing, core.CodeVisibilityDenied, core.CodeIPNotAllowed:
			refuse(w, http.StatusForbidden, `, error="insufficient_scope"`)
		case core.CodeInternal: // it could not be judged
			http.Error(w, "try again", http.StatusServiceUnavailable)
		default: // unknown, revoked, expired: a caller must not learn which
			refuse(w, http.StatusUnauthorized, `, error="invalid_token"`)
		}
	}), nil
}

// refuse answers a request that does not pass (RFC 6750, section 3).
func refuse(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="api"`+reason)
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
