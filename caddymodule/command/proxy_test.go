package command

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/spf13/cobra"
)

// proxied runs `talos proxy` with flags as far as its configuration.
func proxied(args ...string) (text string, err error) {
	var cmd cobra.Command
	setProxy(&cmd)
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SilenceUsage = true
	cmd.SetArgs(append(args, "--print-config"))
	err = cmd.ExecuteContext(context.Background())
	return out.String(), err
}

func TestProxyConfigurationForEachSetting(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"least": {"--upstream", "https://talos.internal:4420", "--listen", "127.0.0.1:8080"},
		"everything": {
			"--upstream", "http://10.1.2.3:4420", "--upstream", "https://b.internal/talos", "--listen", "[::1]:4420",
			"--cache-ttl", "30s", "--cache-max-size", "67108864", "--metrics-listen", "10.1.1.1:9100",
			"--allowed-hosts", "a.internal,b.internal", "--key-prefix", "acme,old", "--public-prefix", "acme_pub",
		},
		"no_cache": {
			"--upstream", "https://talos.internal:4420", "--listen", "localhost:8080",
			"--cache-ttl", "0", "--metrics-listen", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := proxied(args...)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("proxy", name+".caddyfile"), text)
			if formatted := string(caddyfile.Format([]byte(text))); formatted != text {
				t.Errorf("caddy fmt would change it to\n%s", formatted)
			}
		})
	}
}

func TestAttack16_ProxyRefusesToListenWhereOthersCanConnect(t *testing.T) {
	t.Parallel()
	const up = "https://talos.internal:4420"
	for _, listen := range []string{"0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080", "10.0.0.1:8080"} {
		_, err := proxied("--upstream", up, "--listen", listen)
		if err == nil || !strings.Contains(err.Error(), "allow") {
			t.Errorf("%s: got %v", listen, err)
		}
	}
	text, err := proxied("--upstream", up)
	if err != nil || !strings.Contains(text, "http://:8080 {\n\tbind 127.0.0.1") {
		t.Errorf("only a port: got %v\n%s", err, text)
	}
}

func TestABadFlagOfProxyIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ flag, value string }{
		{"--listen", "8080"},
		{"--listen", ":0"},
		{"--listen", ":http"},
		{"--listen", "example.com:8080"},
		{"--metrics-listen", "8081"},
		{"--metrics-listen", "example.com:8081"},
		{"--cache-ttl", "soon"},
		{"--cache-ttl", "10ms"},
		{"--cache-max-size", "much"},
		{"--upstream", "https://a b"},
		{"--upstream", "https://a/{env.HOME}"},
		{"--allowed-hosts", "a b"},
	} {
		_, err := proxied("--upstream", "https://talos.internal:4420", c.flag, c.value)
		if err == nil || !strings.Contains(err.Error(), c.flag) {
			t.Errorf("%s %s: got %v", c.flag, c.value, err)
		}
	}
	if _, err := proxied(); err == nil || !strings.Contains(err.Error(), "--upstream") {
		t.Errorf("without --upstream: got %v", err)
	}
}

// proxyBinary starts `talos proxy` before a server.
func proxyBinary(t *testing.T, env []string, upstream string, args ...string) *server {
	t.Helper()
	for range 5 { // somebody may take the ports that were free
		ln, metrics := listen(t), listen(t)
		ln.close()
		metrics.close()
		port := strconv.Itoa(int(ln.port))
		s, err := tryCommand(t, env, append([]string{"proxy", "--upstream", upstream, "--listen", "127.0.0.1:" + port,
			"--metrics-listen", "127.0.0.1:" + strconv.Itoa(int(metrics.port))}, args...)...)
		if err == nil {
			s.endpoint = "http://127.0.0.1:" + port
			s.metrics = "http://127.0.0.1:" + strconv.Itoa(int(metrics.port))
			return s
		}
		if !strings.Contains(err.Error(), "address already in use") {
			t.Fatal(err)
		}
	}
	t.Fatal("no port is free")
	return nil
}

func TestAProxyAnswersForAServerAndPassesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	behind := serveBinary(t, append(env, "TALOS_CREDENTIALS_API_KEYS_PREFIX_CURRENT=acme"))
	s := proxyBinary(t, env, behind.endpoint, "--key-prefix", "acme")
	secret, keyID := s.issue(t, "--scopes", "a")
	s.wantVerdict(t, secret, true)
	s.wantVerdict(t, "acme_v1_forged_forged", false)
	if out, exit := s.talos(t, "keys", "issued", "get", keyID, "-q"); exit != 0 || out != "active\n" {
		t.Errorf("get: exit status %d, %q", exit, out)
	}
	if _, exit := s.talos(t, "keys", "revoke", keyID); exit != 0 {
		t.Errorf("revoke: exit status %d", exit)
	}
	s.wantVerdict(t, secret, false)
	if status, _ := fetch(t, http.MethodGet, s.endpoint+"/health/ready"); status != http.StatusOK {
		t.Errorf("readiness: %d", status)
	}
	if status, body := fetch(t, http.MethodGet, s.metrics+"/metrics"); status != http.StatusOK ||
		!strings.Contains(string(body), "talos_upstream_requests_total") {
		t.Errorf("metrics: %d", status)
	}
	if err := behind.stop(t, syscall.SIGKILL); err == nil {
		t.Error("it ended without being killed")
	}
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for tries := 0; ; tries++ { // the answer before serves for a second
		status, _ := fetch(t, http.MethodGet, s.endpoint+"/health/ready")
		if status == http.StatusServiceUnavailable {
			break
		}
		if <-ticks.C; tries > 1000 {
			t.Fatalf("readiness without the server: %d", status)
		}
	}
	if _, exit := s.talos(t, "keys", "verify", "never-seen"); exit == 0 {
		t.Error("a key that nobody knows is valid")
	}
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if strings.Contains(s.log(), secret) {
		t.Error("a credential is in the log")
	}
}
