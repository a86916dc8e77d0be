package doctor_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // the Caddyfile adapter and what its output names

	_ "github.com/talos-edge/talos-edge/caddymodule" // the handlers
	"github.com/talos-edge/talos-edge/caddymodule/doctor"
	"github.com/talos-edge/talos-edge/caddymodule/internal/freeport"
	"github.com/talos-edge/talos-edge/caddymodule/internal/setup"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/storage"
)

const (
	secretEnv   = "TALOS_TEST_DOCTOR_SECRET"
	testSecret  = "an HMAC secret for tests, long enough"
	otherSecret = "another HMAC secret that is long enough"
)

// sound is a set-up without a fault.
const sound = `{
	admin off
	persist_config off
	storage file_system DIR/caddy
	log {
		output file DIR/made.log
		format talos_redact
	}
	servers {
		trusted_proxies static 10.0.0.0/8
		trusted_proxies_strict
	}
	talos {
		storage sqlite://DIR/talos.db
		hmac_secret {env.TALOS_TEST_DOCTOR_SECRET}
	}
}
http://:SITE {
	bind 127.0.0.1
	talos_gate {
		from header X-Api-Key
	}
	reverse_proxy APP
}
http://:PRIVATE {
	bind 127.0.0.1
	talos_admin
}
`

// fault is one way in which a set-up is not sound.
type fault struct {
	check    string
	name     string
	replace  []string  // in the sound configuration: what, and with what
	prepare  func(dir) // after the database was made
	severity doctor.Severity
	what     string // a part of the finding
}

// dir is the folder of a set-up.
type dir struct {
	t    *testing.T
	root string
}

func (d dir) path(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

func (d dir) write(name, text string, mode fs.FileMode) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(d.path(name)), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(d.path(name), []byte(text), mode); err != nil {
		d.t.Fatal(err)
	}
	d.chmod(name, mode)
}

func (d dir) chmod(name string, mode fs.FileMode) {
	d.t.Helper()
	if err := os.Chmod(d.path(name), mode); err != nil {
		d.t.Fatal(err)
	}
}

// database makes a database with one key, which was created at a time.
func (d dir) database(created time.Time) {
	d.t.Helper()
	store, err := storage.Open(d.t.Context(), "sqlite://"+d.path("talos.db"), storage.Options{})
	if err != nil {
		d.t.Fatal(err)
	}
	keyring, err := credential.NewKeyring(testSecret)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := store.ClaimSecret(d.t.Context(), core.NetworkID{}, keyring.Checks()); err != nil {
		d.t.Fatal(err)
	}
	_, _, err = store.Create(d.t.Context(), core.Key{
		ID: created.Format(time.RFC3339Nano), Kind: core.Issued, Prefix: "ory_ak", Status: core.StatusActive,
		CreateTime: created, UpdateTime: created,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		d.t.Fatal(err)
	}
}

// examine runs the checks on a set-up. Caddy's default log is global to the process, so the tests are not parallel.
func examine(t *testing.T, f *fault) *doctor.Report {
	t.Helper()
	t.Setenv(secretEnv, testSecret)
	d := dir{t, t.TempDir()}
	d.chmod(".", 0o700)
	d.database(time.Now())
	if f.prepare != nil {
		f.prepare(d)
	}
	text := strings.NewReplacer(f.replace...).Replace(sound)
	ports := [3]string{}
	for i := range ports {
		ports[i] = freeport.Port(t)
	}
	text = strings.NewReplacer("DIR", filepath.ToSlash(d.root), "SITE", ports[0], "PRIVATE", ports[1],
		"APP", "127.0.0.1:"+ports[2]).Replace(text)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	before := d.tree()
	s, refused := setup.Load(config, "")
	report := doctor.Run(t.Context(), s, refused)
	if after := d.tree(); !slices.Equal(before, after) {
		t.Errorf("there were %v, and are %v", before, after)
	}
	all, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{testSecret, otherSecret} {
		if strings.Contains(string(all), secret) {
			t.Error("a secret is in the report")
		}
	}
	return report
}

// tree lists all files with what would show a change.
func (d dir) tree() (list []string) {
	d.t.Helper()
	err := filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		list = append(list, fmt.Sprint(path, info.Mode(), info.Size(), info.ModTime()))
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

func TestASoundSetUpHasNoFinding(t *testing.T) {
	report := examine(t, &fault{})
	if report.Worst() != "" {
		t.Errorf("found %+v", report.Findings)
	}
	for _, o := range report.Checks {
		if o.Skipped != "" && o.Check != "upstream" {
			t.Errorf("%s is skipped: %s", o.Check, o.Skipped)
		}
	}
}

// faults has at least one for each check, but for those of the machine: see judge_test.go.
var faults = []fault{
	{
		"config", "an option of the node", nil, func(d dir) { d.t.Setenv(secretEnv, "short") },
		doctor.Error, "at least 32",
	},
	{
		"config", "the private surface for everybody", []string{"bind 127.0.0.1\n\ttalos_admin", "talos_admin"},
		nil, doctor.Error, "talos_admin on the listener",
	},
	{
		"database", "none", []string{"DIR/talos.db", "DIR/none/talos.db"}, nil, doctor.Note, "there is no database yet",
	},
	{
		"database", "another file", nil,
		func(d dir) { d.write("talos.db", strings.Repeat("x", 4096), 0o600) }, doctor.Error,
		"not a database",
	},
	{
		"secrets", "another one", nil, func(d dir) { d.t.Setenv(secretEnv, otherSecret) },
		doctor.Error, "is not the one of its keys; it is from {env." + secretEnv + "}",
	},
	{
		"secrets", "retired only", []string{"{env.TALOS_TEST_DOCTOR_SECRET}", `"` + otherSecret + `"`}, nil,
		doctor.Error, "it is from the configuration itself",
	},
	{
		"secrets", "none", []string{"hmac_secret {env.TALOS_TEST_DOCTOR_SECRET}", ""}, nil, doctor.Error,
		"is missing, and the database has 1 keys",
	},
	{
		"secrets", "generated for another database", []string{"hmac_secret {env.TALOS_TEST_DOCTOR_SECRET}", ""},
		func(d dir) { d.write("caddy/talos/hmac_secret", otherSecret, 0o600) },
		doctor.Error, "it is from talos/hmac_secret in Caddy's storage",
	},
	{
		"secrets", "damaged", nil, func(d dir) { d.write("caddy/talos/hmac_secret", "short", 0o600) },
		doctor.Error, "is damaged",
	},
	{
		"prefixes", "of another configuration", []string{"talos {\n", "talos {\n\t\tkey_prefix acme older\n"}, nil,
		doctor.Warning, "the prefix ory_ak is not configured, 1 stored keys begin with it",
	},
	{
		"files", "a secret that others read", []string{"hmac_secret {env.TALOS_TEST_DOCTOR_SECRET}", ""},
		func(d dir) { d.write("caddy/talos/hmac_secret", testSecret, 0o640) },
		doctor.Error, "can be read by others than its owner (mode 0640)",
	},
	{
		"files", "a database that others read", nil, func(d dir) { d.chmod("talos.db", 0o644) },
		doctor.Warning, "talos.db can be read by others",
	},
	{
		"files", "a database that others write", nil, func(d dir) { d.chmod("talos.db", 0o660) },
		doctor.Error, "talos.db can be written by others",
	},
	{
		"files", "a folder that others write", nil, func(d dir) { d.chmod(".", 0o770) },
		doctor.Error, "the folder",
	},
	{
		"clock", "a change of tomorrow", nil,
		func(d dir) { d.database(time.Now().Add(24 * time.Hour)) }, doctor.Error,
		"the last change in the database is from",
	},
	{
		"ports", "an address of another machine",
		[]string{"bind 127.0.0.1\n\ttalos_gate", "bind 192.0.2.77\n\ttalos_gate"}, nil, doctor.Error, "192.0.2.77",
	},
	{
		"bypass", "another site",
		[]string{"http://:PRIVATE", "http://other.localhost:SITE {\n\treverse_proxy APP\n}\nhttp://:PRIVATE"}, nil,
		doctor.Error, "proxies to 127.0.0.1",
	},
	{
		"bypass", "an app elsewhere", []string{"reverse_proxy APP", "reverse_proxy 192.0.2.77:80"}, nil, doctor.Note,
		"is on another machine",
	},
	{
		"tls", "beyond this machine", []string{
			"bind 127.0.0.1\n\ttalos_gate", "talos_gate", "\t\ttrusted_proxies static 10.0.0.0/8\n", "",
			"\t\ttrusted_proxies_strict\n", "",
		}, nil, doctor.Warning, "without TLS",
	},
	{
		"logs", "a plain log", []string{"format talos_redact", "format json"}, nil, doctor.Error,
		"the log default shows keys: header X-Api-Key",
	},
	{
		"proxies", "everybody", []string{"10.0.0.0/8", "0.0.0.0/0"}, nil, doctor.Error, "are all addresses there are",
	},
	{
		"proxies", "not strict", []string{"\t\ttrusted_proxies_strict\n", ""}, nil, doctor.Warning,
		"without trusted_proxies_strict",
	},
	{
		"admin", "everybody", []string{"bind 127.0.0.1\n\ttalos_admin", "talos_admin {\n\t\tallow ::/0\n\t}"}, nil,
		doctor.Error, "allows everyone (::/0)",
	},
	{
		"admin", "a public range",
		[]string{"bind 127.0.0.1\n\ttalos_admin", "talos_admin {\n\t\tallow 192.0.2.0/24\n\t}"}, nil,
		doctor.Warning, "allows the public addresses 192.0.2.0/24",
	},
	{
		"caddy_admin", "beyond this machine", []string{"admin off", "admin 0.0.0.0:0"}, nil, doctor.Error,
		"can be reached from other machines",
	},
	{
		"caddy_admin", "on", []string{"admin off", "admin 127.0.0.1:0"}, nil, doctor.Note, "admin endpoint is on",
	},
	{
		"caddy_admin", "a secret in it", []string{
			"{env.TALOS_TEST_DOCTOR_SECRET}", `"` + testSecret + `"`, "persist_config off", "",
		}, nil, doctor.Warning, "hmac_secret in plain text",
	},
	{
		"caddy_admin", "a webhook's secret in it", []string{
			"hmac_secret", "webhook https://hooks.example.com {\n" +
				"\t\t\tsecret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\t\t}\n\t\thmac_secret", "persist_config off", "",
		}, nil, doctor.Warning, "the secret of a webhook in plain text",
	},
}

func TestEachFaultIsFoundByItsCheck(t *testing.T) {
	for i := range faults {
		f := &faults[i]
		t.Run(f.check+"/"+f.name, func(t *testing.T) {
			report := examine(t, f)
			want(t, report, f.check, f.severity, f.what)
		})
	}
}

// want checks that a finding is in a report.
func want(t *testing.T, r *doctor.Report, check string, severity doctor.Severity, what string) {
	t.Helper()
	for _, found := range r.Findings {
		if found.Check == check && found.Severity == severity && strings.Contains(found.What, what) {
			if found.Why == "" || found.Fix == "" {
				t.Errorf("%+v does not say why, or what to do", found)
			}
			return
		}
	}
	t.Errorf("no %s of %s says %q: %+v", severity, check, what, r.Findings)
}

// What allows more than it should, but to nobody, and what is generated or retired, is sound.
func TestWhatOnlyLooksLikeAFaultIsNoFinding(t *testing.T) {
	for name, f := range map[string]fault{
		"allow on loopback":  {replace: []string{"talos_admin", "talos_admin {\n\t\tallow 0.0.0.0/0\n\t}"}},
		"a private range":    {replace: []string{"talos_admin", "talos_admin {\n\t\tallow private_ranges\n\t}"}},
		"a site with a name": {replace: []string{"http://:SITE", "https://gate.localhost:SITE"}},
		"a retired secret":   {replace: []string{"{env.", `"` + otherSecret + `" {env.`}},
		"a retired prefix":   {replace: []string{"talos {\n", "talos {\n\t\tkey_prefix acme ory_ak\n"}},
		"a discarded log": {
			replace: []string{"output file DIR/made.log\n\t\tformat talos_redact", "output discard"},
		},
		"an exempt path": {
			replace: []string{"talos_gate", "handle /public/* {\n\treverse_proxy APP\n}\n\ttalos_gate"},
		},
		"a generated secret": {
			replace: []string{"hmac_secret {env.TALOS_TEST_DOCTOR_SECRET}", ""},
			prepare: func(d dir) { d.write("caddy/talos/hmac_secret", testSecret, 0o600) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if report := examine(t, &f); report.Worst() != "" {
				t.Errorf("found %+v", report.Findings)
			}
		})
	}
}

// The manual lists the checks as they are.
func TestTheManualListsEachCheck(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../command/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| check | what it looks at |\n|---|---|\n")
	if !found {
		t.Fatal("the manual has no table of checks")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var wanted strings.Builder
	for _, c := range doctor.Checks() {
		fmt.Fprintf(&wanted, "| `%s` | %s |\n", c.Name, c.About)
	}
	if got := table + "\n"; got != wanted.String() {
		t.Errorf("the manual has\n%s\nwant\n%s", got, wanted.String())
	}
}
