package upstream

import (
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/talos-edge/talos-edge/core"
)

// proxiedEnv is set in the process that makes calls while its environment names a proxy.
const proxiedEnv = "TALOS_TEST_UPSTREAM_PROXIED"

// net/http reads the environment once in a process, so another process makes the calls. Their host has no address: only
// a proxy could answer them.
func TestNoCallGoesToAProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	if os.Getenv(proxiedEnv) != "" {
		callAsProxied(t)
		return
	}
	asked := newStandIn()
	proxy := serve(t, asked, "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), proxiedEnv+"=1", "NO_PROXY=", "no_proxy=")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		child.Env = append(child.Env, name+"="+proxy.URL)
	}
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	calls := asked.calls("")
	if len(calls) == 0 {
		t.Error("the proxy was not used by a client that takes it from the environment")
	}
	for _, call := range calls {
		if call.path != "/control" {
			t.Errorf("the proxy was asked for %s", call.path)
		}
	}
}

// callAsProxied makes one call of each kind, none of which can succeed, and one that the proxy answers.
func callAsProxied(t *testing.T) {
	t.Helper()
	u, _ := open(t, nil, "http://upstream.invalid:4420")
	cred, _ := mint(t)
	if v, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err == nil {
		t.Errorf("a look-up: got %+v", v)
	}
	if _, err := u.SelfRevoke(t.Context(), core.NetworkID{}, cred, ""); err == nil {
		t.Error("a self-revocation was answered")
	}
	if err := u.Ready(t.Context()); err == nil {
		t.Error("it is ready")
	}
	passed := request(t, http.MethodGet, "http://caller.invalid/v2alpha1/admin/issuedApiKeys")
	if resp, err := u.RoundTrip(passed); err == nil {
		_ = resp.Body.Close()
		t.Error("a caller's request was answered")
	}
	resp, err := new(http.Client).Do(request(t, http.MethodGet, "http://control.invalid/control"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

func request(t *testing.T, method, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
