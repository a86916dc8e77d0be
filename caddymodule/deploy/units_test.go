package deploy_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/caddymodule/internal/talostest"
)

// mostExposure is what `systemd-analyze security` may find at most, on its scale from 0 to 10 in tenths.
const mostExposure = "17"

func TestUnits_PassSystemd(t *testing.T) {
	t.Parallel()
	analyze := needs(t, envSystemdAnalyze)
	for _, name := range []string{"talos.service", "talos-sidecar.service"} {
		dir := t.TempDir()
		unit := filepath.Join(dir, name)
		// It looks for the program, which is not installed here.
		write(t, unit, strings.ReplaceAll(read(t, "systemd/"+name), "/usr/local/bin/talos", talostest.Binary(t)))
		for _, args := range [][]string{
			{"verify", "--man=no", unit},
			{"security", "--no-pager", "--offline=true", "--threshold=" + mostExposure, unit},
		} {
			out, err := exec.CommandContext(t.Context(), analyze, args...).CombinedOutput()
			if err != nil {
				t.Errorf("%s %s: %v\n%s", args[0], name, err, out)
			}
			if args[0] == "verify" && strings.Contains(string(out), name) {
				t.Errorf("%s", out)
			}
		}
	}
}

// Both units under a real systemd: start, gated requests on port 443 and through the sidecar, reload, restart after a
// kill, stop. See testdata/systemd.sh.
func TestUnits_RunUnderSystemd(t *testing.T) {
	t.Parallel()
	needs(t, envNamespaces)
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	if err := os.Mkdir(filepath.Join(work, "credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	credentials(t, filepath.Join(work, "credentials"))
	if err := os.Link(talostest.Binary(t), filepath.Join(work, "talos")); err != nil {
		t.Fatal(err)
	}
	asRoot(t, "systemd.sh", work, "SRC="+dir)
}

var loaded = regexp.MustCompile(`(?m)^LoadCredential=([^:\n]+):/etc/talos/credentials/([^:\n]+)$`)

// What a unit loads is what its Caddyfile reads, and the folders of the two are the same.
func TestUnits_AgreeWithTheirCaddyfiles(t *testing.T) {
	t.Parallel()
	for unit, config := range map[string]string{
		"talos.service": "node.caddyfile", "talos-sidecar.service": "sidecar.caddyfile",
	} {
		name := strings.TrimSuffix(unit, ".service")
		service, caddyfile := read(t, "systemd/"+unit), read(t, "systemd/"+config)
		var loads, reads []string
		for _, m := range loaded.FindAllStringSubmatch(service, -1) {
			if m[1] != m[2] {
				t.Errorf("%s: the credential %s is read from a file %s", unit, m[1], m[2])
			}
			loads = append(loads, m[1])
		}
		folder := regexp.QuoteMeta("{$CREDENTIALS_DIRECTORY:/run/credentials/" + unit + "}/")
		place := regexp.MustCompile(folder + `([\w.]+)`)
		for _, m := range place.FindAllStringSubmatch(caddyfile, -1) {
			reads = append(reads, m[1])
		}
		slices.Sort(loads)
		slices.Sort(reads)
		if !slices.Equal(loads, slices.Compact(reads)) {
			t.Errorf("%s loads %q, and its Caddyfile reads %q", unit, loads, reads)
		}
		for _, want := range []string{"StateDirectory=" + name, "RuntimeDirectory=" + name,
			"XDG_DATA_HOME=/var/lib/" + name, "XDG_CONFIG_HOME=/var/lib/" + name} {
			if !strings.Contains(service, want+"\n") && !strings.Contains(service, want+" ") {
				t.Errorf("%s has no %s", unit, want)
			}
		}
		if !strings.Contains(caddyfile, "admin unix//run/"+name+"/admin.sock\n") {
			t.Errorf("%s: the socket for reloads is not in /run/%s", config, name)
		}
	}
}

// deployment is a node of talos.service with the demo app behind it, on ports of its own.
type deployment struct {
	t     *testing.T
	dir   string // with the credentials
	ports talostest.Ports
	env   []string
}

func startNode(t *testing.T) *deployment {
	t.Helper()
	// The folder's name is short: there are sockets in it, whose paths may have about 100 bytes.
	dir, err := os.MkdirTemp("", "talos-") //nolint:usetesting // T.TempDir has the test's name in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	credentials(t, dir)
	tlsSecret(t, dir, dir)
	d := &deployment{
		t: t, dir: dir, ports: talostest.NewPorts(t, "9000", "80", "443", "4420", "4421", "9180"),
		env: []string{"CREDENTIALS_DIRECTORY=" + filepath.ToSlash(dir)},
	}
	app := d.start("app", read(t, "container/app.caddyfile"))
	app.AwaitOK(t, "http://127.0.0.1:"+d.ports["9000"])
	// The site has a name that nobody can prove here, so Caddy's own authority signs for it.
	node := d.start("node", strings.Replace(read(t, "systemd/node.caddyfile"), "{\n",
		"{\n\tlocal_certs\n\tskip_install_trust\n\thttp_port "+d.ports["80"]+"\n\thttps_port "+d.ports["443"]+"\n", 1))
	node.AwaitOK(t, "http://127.0.0.1:"+d.ports["4420"]+"/health/ready")
	node.Await(t, "the site has its certificate", func() error {
		_, _, err := get(t, clientTo("127.0.0.1:"+d.ports["443"]), "https://api.example.com/", nil)
		return err
	})
	return d
}

// start runs a Caddyfile with its paths and ports moved.
func (d *deployment) start(name, text string) *talostest.Process {
	d.t.Helper()
	text = d.ports.In(text)
	for _, place := range []string{
		"/run/talos-sidecar/", "/run/talos/", "/var/lib/talos/", "/etc/talos/tls/",
	} {
		text = strings.ReplaceAll(text, place, filepath.ToSlash(d.dir)+"/")
	}
	write(d.t, d.config(name), text)
	return start(d.t, d.dir, d.env, talostest.Binary(d.t), "run", "--config", d.config(name))
}

func (d *deployment) config(name string) string { return filepath.Join(d.dir, name+".caddyfile") }

func (d *deployment) issue(args ...string) (secret string) {
	d.t.Helper()
	args = append([]string{"keys", "issue", "a key", "--quiet"}, args...)
	out, err := talos(d.t, d.dir, append(d.env, "TALOS_URL=http://127.0.0.1:"+d.ports["4420"]), args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func TestTheNodeOfTheUnitGatesItsAppAndReloads(t *testing.T) {
	t.Parallel()
	d := startNode(t)
	secret := d.issue("--actor", "alice")
	site := clientTo("127.0.0.1:" + d.ports["443"])
	check := func() {
		t.Helper()
		if status, body := mustGet(t, site, "https://api.example.com/", bearer(secret)); status != http.StatusOK ||
			!strings.HasPrefix(body, "Hello alice, ") {
			t.Errorf("with a key: %d %s", status, body)
		}
		if status, _ := mustGet(t, site, "https://api.example.com/", nil); status != http.StatusUnauthorized {
			t.Errorf("without a key: %d", status)
		}
	}
	check()
	if _, err := talos(t, d.dir, d.env, "reload", "--config", d.config("node"), "--force"); err != nil {
		t.Error(err)
	}
	check()
}

// The sidecars of the unit and of the Kubernetes manifest ask the node of the unit, each with its certificate.
func TestTheSidecarsAskTheNodeOfTheUnit(t *testing.T) {
	t.Parallel()
	d := startNode(t)
	secret := d.issue("--actor", "alice")
	for name, text := range map[string]string{
		"systemd":    read(t, "systemd/sidecar.caddyfile"),
		"kubernetes": configMapCaddyfile(t),
	} {
		own := talostest.NewPorts(t, "8080", "9181")
		if strings.Contains(text, "http://:9180 ") {
			own["9180"] = freeport.Port(t) // the node has another one of that number
		}
		const upstream = "upstream https://talos.internal:4421 {\n"
		if !strings.Contains(text, upstream) {
			t.Fatalf("%s: another upstream", name)
		}
		text = strings.Replace(text, upstream, // the name does not resolve here
			"upstream https://127.0.0.1:4421 {\n\t\t\ttls_server_name talos.internal\n", 1)
		sidecar := d.start(name, own.In(text))
		gate := "http://127.0.0.1:" + own["8080"]
		sidecar.AwaitOK(t, gate+"/health/ready")
		if status, body := mustGet(t, http.DefaultClient, gate, bearer(secret)); status != http.StatusOK ||
			!strings.HasPrefix(body, "Hello alice, ") {
			t.Errorf("%s, with a key: %d %s\n%s", name, status, body, sidecar.Log)
		}
		for what, header := range map[string]http.Header{"no key": nil, "a forged key": bearer(secret + "x")} {
			if status, _ := mustGet(t, http.DefaultClient, gate, header); status != http.StatusUnauthorized {
				t.Errorf("%s, %s: %d", name, what, status)
			}
		}
		if _, err := talos(t, d.dir, d.env, "health", "--endpoint", gate); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
