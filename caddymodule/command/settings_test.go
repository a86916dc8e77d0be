package command

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// environment makes a getenv of a map, so that tests need not touch the process's own.
func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

const (
	secretA = "correct-horse-battery-staple-aaaaaaa"
	secretB = "correct-horse-battery-staple-bbbbbbb"
	secretC = "correct-horse-battery-staple-ccccccc"
)

func TestServeConfigurationForEachSurfaceAndSetting(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		part surface
		env  map[string]string
	}{
		"both":   {},
		"admin":  {part: surfaceAdmin, env: map[string]string{envPort: "4421"}},
		"public": {part: surfacePublic},
		"public_beyond": {
			part: surfacePublic, env: map[string]string{envHost: "0.0.0.0", envProxies: "10.0.0.0/8, 192.0.2.7"},
		},
		"loopback_ipv6": {env: map[string]string{envHost: "[::1]"}},
		"no_cache":      {env: map[string]string{envTTL: "0"}},
		"everything": {env: map[string]string{
			envHost: "localhost", envPort: "9000", envProxies: "private_ranges",
			envDSN: "sqlite:///var/lib/talos/talos.db", envIssuer: "https://api.example.com", envPrefix: "acme",
			envMaxTTL: "90d", envTTL: "30s", envCurrent: secretA, envRetired: secretB + ", " + secretC,
		}},
		"retired_prefixes": {env: map[string]string{envRetiredPrefixes: "acme, old"}},
		"one_retired":      {env: map[string]string{envCurrent: secretA, envRetired: secretB}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := readSettings(environment(c.env))
			if err != nil {
				t.Fatal(err)
			}
			hosts := s.hosts
			if hosts == nil {
				hosts = []string{"127.0.0.1", "::1"}
			}
			text, err := s.caddyfile(c.part, hosts)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("serve", name+".caddyfile"), text)
			if formatted := string(caddyfile.Format([]byte(text))); formatted != text {
				t.Errorf("caddy fmt would change it to\n%s", formatted)
			}
			for _, secret := range []string{secretA, secretB, secretC} {
				if strings.Contains(text, secret) {
					t.Error("a secret is in the configuration")
				}
			}
		})
	}
}

func TestSeveralRetiredSecretsGetAVariableEach(t *testing.T) {
	t.Parallel()
	s, err := readSettings(environment(map[string]string{envCurrent: secretA, envRetired: secretB + "," + secretC}))
	if err != nil {
		t.Fatal(err)
	}
	if s.derived[envRetired+"_1"] != secretB || s.derived[envRetired+"_2"] != secretC || len(s.derived) != 2 {
		t.Errorf("the members of the list did not become variables of their own: %d", len(s.derived))
	}
}

func TestABadSettingIsAnErrorThatNamesItsVariableAndNoSecret(t *testing.T) {
	t.Parallel()
	const short = "too-short-secret"
	for _, c := range []struct{ name, value string }{
		{envHost, "example.com"},
		{envHost, "127.0.0.1:80"},
		{envHost, "fe80::1%eth0"},
		{envPort, "0"},
		{envPort, "65536"},
		{envPort, "http"},
		{envProxies, "10.0.0.0/33"},
		{envProxies, "10.0.0.0/8 10.1.0.0/16"},
		{envProxies, "proxy.internal"},
		{envIssuer, "api.example.com"},
		{envIssuer, "https://a b"},
		{envIssuer, "https://a/{env.HOME}"},
		{envIssuer, "https://a/\n}"},
		{envPrefix, "has space"},
		{envPrefix, "seventeen_letters"},
		{envRetiredPrefixes, "ory_ak"},
		{envRetiredPrefixes, "acme,has space"},
		{envMaxTTL, "soon"},
		{envMaxTTL, "0"},
		{envMaxTTL, "11y"},
		{envTTL, "-1s"},
		{envTTL, "10ms"},
		{envDSN, "mysql://root:" + short + "@db/talos"},
		{envDSN, "talos.db"},
		{envDSN, "sqlite:///talos.db?mode=ro"},
		{envCurrent, short},
		{envRetired, secretB},
	} {
		_, err := readSettings(environment(map[string]string{c.name: c.value}))
		if err == nil {
			t.Errorf("%s=%q was taken", c.name, c.value)
			continue
		}
		if !strings.HasPrefix(err.Error(), c.name+": ") {
			t.Errorf("%s=%q: the error does not name the variable: %v", c.name, c.value, err)
		}
		if strings.Contains(err.Error(), short) || strings.Contains(err.Error(), secretB) {
			t.Errorf("%s: the error repeats a secret", c.name)
		}
	}
	for _, retired := range []string{short, secretA, secretB + "," + secretB} {
		_, err := readSettings(environment(map[string]string{envCurrent: secretA, envRetired: retired}))
		if err == nil || !strings.HasPrefix(err.Error(), envRetired+": ") {
			t.Errorf("a retired secret that is too short, current or repeated: %v", err)
		}
	}
}

func TestAttack16_TheAdminSurfaceIsNotServedBeyondThisMachine(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"} {
		s, err := readSettings(environment(map[string]string{envHost: host}))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []surface{surfaceBoth, surfaceAdmin} {
			if _, err := s.caddyfile(part, s.hosts); err == nil || !strings.Contains(err.Error(), envHost) {
				t.Errorf("serve %s on %s: %v", part, host, err)
			}
		}
		if _, err := s.caddyfile(surfacePublic, s.hosts); err != nil {
			t.Errorf("serve public on %s: %v", host, err)
		}
	}
}

func TestAPortThatIsTakenIsAnError(t *testing.T) {
	t.Parallel()
	taken := listen(t).port
	err := checkFree(t.Context(), []string{"127.0.0.1"}, taken, envPort)
	if err == nil || !strings.Contains(err.Error(), envPort) {
		t.Errorf("expected an error that names %s, got %v", envPort, err)
	}
	const free = 0 // one that the system chooses
	if err := checkFree(t.Context(), []string{"127.0.0.1"}, free, envPort); err != nil {
		t.Error(err)
	}
}

func TestAnAddressThatTheMachineDoesNotHaveIsLeftOut(t *testing.T) {
	t.Parallel()
	// 2001:db8::1 is a documentation address (RFC 3849); to a machine without IPv6, ::1 is the same.
	if got := usable(t.Context(), "127.0.0.1", "2001:db8::1"); !slices.Equal(got, []string{"127.0.0.1"}) {
		t.Errorf("usable addresses: %v", got)
	}
}

// golden compares a text with a file in testdata, or writes the file when the tests run with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs.\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}
