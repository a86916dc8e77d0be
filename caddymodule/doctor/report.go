package doctor

import (
	"context"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/internal/setup"
	"github.com/talos-edge/talos-edge/storage"
)

// Severity says how bad a finding is.
type Severity string

// The severities. An Error keeps the node from starting, locks callers out, or lets somebody in; a Warning does so in
// some circumstances; a Note is worth knowing.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Finding is one thing that is wrong. It holds no secret.
type Finding struct {
	Check    string   `json:"check"` // the name of the check that found it
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Why      string   `json:"why"` // it matters
	Fix      string   `json:"fix"`
}

// Outcome is what came of a check.
type Outcome struct {
	Check    string `json:"check"`
	Findings int    `json:"findings"`
	Skipped  string `json:"skipped,omitempty"` // why it does not apply
}

// Report is what came of all checks.
type Report struct {
	Findings []Finding `json:"findings"`
	Checks   []Outcome `json:"checks"`
}

// Worst is the highest severity of the findings; empty without any.
func (r *Report) Worst() Severity {
	worst := Severity("")
	rank := map[Severity]int{Note: 1, Warning: 2, Error: 3}
	for i := range r.Findings {
		if s := r.Findings[i].Severity; rank[s] > rank[worst] {
			worst = s
		}
	}
	return worst
}

// Check is one thing that is looked at.
type Check struct {
	Name  string
	About string // what it looks at, in one line

	// run returns what is wrong, or why it cannot be known here.
	run func(context.Context, *subject) (found []Finding, skipped string)
}

// Checks are all checks, in the order in which they run.
func Checks() []Check {
	return []Check{
		{"config", "the configuration would be accepted by a start", checkConfig},
		{"database", "the database can be read, and this build knows its schema", checkDatabase},
		{"secrets", "the HMAC secret is the one that the stored keys were made with", checkSecrets},
		{"prefixes", "the prefixes of the stored keys are configured", checkPrefixes},
		{"files", "modes and owners of the data directory, the database and the secrets", checkFiles},
		{"disk", "free space, and the size of the write-ahead log", checkDisk},
		{"clock", "the clock agrees with the last change, the database's files and the upstream", checkClock},
		{"ports", "each port is free, or one process of this program has it", checkPorts},
		{"bypass", "no app of a gate can be reached around it", checkBypass},
		{"tls", "keys are not sent in clear text", checkTLS},
		{"logs", "no log shows credentials", checkLogs},
		{"proxies", "`trusted_proxies` are a few proxies, and strict", checkProxies},
		{"admin", "few may call `talos_admin`", checkAdmin},
		{"caddy_admin", "Caddy's own admin endpoint gives nothing away", checkCaddyAdmin},
		{"limits", "open files and memory are enough", checkLimits},
		{"upstream", "a sidecar's upstream answers, and takes the sidecar's token", checkUpstream},
	}
}

// subject is what is looked at.
type subject struct {
	*setup.Setup
	refused  error          // why there is no Setup
	state    *storage.State // of the database; nil: there is none, or it cannot be read
	unread   error          // why not
	sites    []site
	handlers []error  // of this module's handlers, why they were refused
	answers  []answer // of the upstream's addresses
	now      time.Time
}

// timeout bounds one check.
const timeout = 10 * time.Second

// Run runs all checks on a set-up, or on why it cannot be loaded.
func Run(ctx context.Context, s *setup.Setup, refused error) *Report {
	sub := &subject{Setup: s, refused: refused, now: time.Now()}
	if refused == nil {
		sub.look(ctx)
	}
	r := &Report{Findings: []Finding{}}
	for _, c := range Checks() {
		o := Outcome{Check: c.Name}
		if refused != nil && c.Name != "config" {
			o.Skipped = "the configuration cannot be loaded"
		} else {
			var found []Finding
			found, o.Skipped = sub.check(ctx, c)
			o.Findings = len(found)
			r.Findings = append(r.Findings, found...)
		}
		r.Checks = append(r.Checks, o)
	}
	return r
}

func (s *subject) check(ctx context.Context, c Check) (found []Finding, skipped string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found, skipped = c.run(ctx, s)
	for i := range found {
		found[i].Check = c.Name
	}
	return found, skipped
}

// look reads what several checks need.
func (s *subject) look(ctx context.Context) {
	s.sites, s.handlers = readSites(s.Setup)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if s.Node.Upstream != nil {
		s.answers = ask(ctx, s.Node.Upstream)
		return
	}
	s.state, s.unread = storage.ReadState(ctx, s.Node.Storage)
}

// Why some checks are skipped.
const (
	isSidecar  = "a sidecar has no database"
	noDatabase = "there is no database that can be read"
	noServer   = "the configuration has no HTTP server"
)
