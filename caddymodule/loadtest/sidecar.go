package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// The sizes of a run with -sidecar.
type sidecarSizes struct {
	roundTrip time.Duration // between an edge and its upstream

	keys   int // that the upstream has issued
	atOnce int // connections of a burst
	rounds int
	lonely int // misses a round, one after the other

	traceKeys, traceRequests int

	outage outageSizes

	abuse     int // connections
	abuseTime time.Duration
	abuseFar  time.Duration // round trip to the upstream during abuse
	abuseMax  int           // max_queue

	overload overloadSizes
}

type overloadSizes struct {
	far    []time.Duration
	times  float64 // what is offered, as a multiple of what the upstream can answer
	keys   int     // known ones
	known  int     // requests a second with them
	length time.Duration
}

type outageSizes struct {
	length, down, up time.Duration // up: when the upstream is started again
	keys             int
	conns            int
	pace             time.Duration // of a connection
}

// fullSizes are those of the project's goals.
var fullSizes = sidecarSizes{
	roundTrip: 20 * time.Millisecond,
	keys:      10_000, atOnce: 256, rounds: 3, lonely: 100,
	traceKeys: 100_000, traceRequests: 200_000,
	outage: outageSizes{
		length: 25 * time.Second, down: 5 * time.Second, up: 15 * time.Second,
		keys: 1000, conns: 32, pace: 32 * time.Millisecond,
	},
	abuse: 10_000, abuseTime: 15 * time.Second, abuseFar: 200 * time.Millisecond, abuseMax: 2000,
	overload: overloadSizes{
		far:   []time.Duration{20 * time.Millisecond, 80 * time.Millisecond, 200 * time.Millisecond},
		times: 1.25, keys: 500, known: 200, length: 15 * time.Second,
	},
}

// A section is what one part of a run found out.
type section interface {
	title() string
	table(line func(format string, args ...any)) // columns end with a tab
	wrong() error                                // answers that were not right, whatever the figures are
}

// A part of a run is a section that the command line can name.
type part[B any] struct {
	name string
	run  func(B, context.Context) (section, error)
}

// The sections of a run with -sidecar, in their order.
var sections = []part[*edgeBench]{
	{"burst", (*edgeBench).burst},
	{"lonely", (*edgeBench).lonely},
	{"hits", (*edgeBench).hits},
	{"outage", (*edgeBench).outage},
	{"abuse", (*edgeBench).abuse},
	{"overload", (*edgeBench).overload},
}

func namesOf[B any](parts []part[B]) (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// An edgeBench is a run with -sidecar: an upstream far away, and edges that come and go.
type edgeBench struct {
	*bench
	sizes  sidecarSizes
	node   *proxy // the upstream
	link   *process
	behind string // address of the link
}

// runSidecar does the sections and prints each when it is done, or all of them as JSON.
func runSidecar(ctx context.Context, o options, sizes sidecarSizes, out, progress io.Writer) (err error) {
	e, err := newEdgeBench(ctx, o, sizes, progress)
	defer func() { err = e.end(ctx, err) }()
	if err != nil {
		return err
	}
	return runParts(ctx, e, e.bench, sections, out)
}

// end closes the bench of a run that ended with err.
func (b *bench) end(ctx context.Context, err error) error {
	if e := ctx.Err(); e != nil {
		err = fmt.Errorf("stopped before the end: %w", e) // the cause of whatever broke then
	}
	return errors.Join(err, b.close())
}

// runParts does the sections that were chosen and prints each when it is done, or all of them as JSON.
func runParts[B any](ctx context.Context, run B, b *bench, parts []part[B], out io.Writer) error {
	all := map[string]any{
		"time": time.Now().UTC().Truncate(time.Second), "machine": machine(), "go": runtime.Version(),
	}
	if !b.json {
		_, _ = fmt.Fprintf(out, "%s, %s\n", machine(), runtime.Version()) // what follows would fail as well
	}
	var wrong error
	for _, s := range parts {
		if len(b.only) > 0 && !slices.Contains(b.only, s.name) {
			continue
		}
		b.say("%s …", s.name)
		found, err := s.run(run, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := found.wrong(); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%s: %w", s.name, err))
		}
		all[s.name] = found
		if !b.json {
			if err := writeSection(out, found); err != nil {
				return err
			}
		}
	}
	if b.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		wrong = errors.Join(encoder.Encode(all), wrong)
	}
	return wrong
}

func machine() string {
	return fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}

// writeSection prints a section. Writing to a tabwriter does not fail; its Flush tells what did.
func writeSection(w io.Writer, s section) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "\n# %s\n\n", s.title())
	s.table(func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) })
	return t.Flush()
}

// newEdgeBench builds and starts what all sections share. The caller closes the bench, also after an error, on the
// goroutine that called: it is locked to its thread until then.
func newEdgeBench(ctx context.Context, o options, sizes sidecarSizes, progress io.Writer) (*edgeBench, error) {
	runtime.LockOSThread()
	e := &edgeBench{bench: &bench{options: o, progress: progress}, sizes: sizes}
	var err error
	if e.dir, err = os.MkdirTemp("", "talos-loadtest-"); err != nil {
		return e, err
	}
	e.launcher.gogc, e.launcher.gomemlimit = o.gogc, o.gomemlimit
	if slices.Equal(o.only, []string{"hits"}) {
		return e, nil // needs no process
	}
	if err := e.binaries(ctx, []variant{{}}); err != nil {
		return e, err
	}
	if err := e.helpers(ctx); err != nil {
		return e, err
	}
	e.node, err = e.launch(ctx, variant{name: "upstream", file: "gated.caddyfile", gated: true})
	if err != nil {
		return e, err
	}
	e.children = append(e.children, e.node.process)
	began := time.Now()
	if err := e.node.issue(ctx, sizes.keys); err != nil {
		return e, err
	}
	e.say("upstream: %d keys issued in %s", sizes.keys, time.Since(began).Round(time.Millisecond))
	if err := e.node.sane(ctx); err != nil {
		return e, err
	}
	err = e.connect(ctx, sizes.roundTrip)
	return e, err
}

// connect puts the upstream at a distance, in place of the one it had.
func (e *edgeBench) connect(ctx context.Context, roundTrip time.Duration) (err error) {
	if e.link != nil {
		e.link.stop()
	}
	at := "127.0.0.1:0"
	if e.behind != "" {
		at = e.behind
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// A thread that waits for a parcel to be due holds a processor of the runtime's for a while; there are others then.
	env := childEnv(e.dir, roleEnv+"="+roleLink, "GOMAXPROCS=8")
	if e.link, err = startProcess(ctx, roleLink, true, env, self); err != nil {
		return err
	}
	e.children = append(e.children, e.link)
	err = json.NewEncoder(e.link.stdin).Encode(linkJob{At: at, To: e.node.api, Delay: roundTrip / 2})
	if err == nil {
		e.behind, err = readAddress(e.link)
	}
	if err != nil {
		return e.link.failure(err)
	}
	return nil
}

// edge starts an edge that knows nothing yet. Its settings are those of sidecar.caddyfile, by their names there.
func (e *edgeBench) edge(ctx context.Context, name string, settings ...string) (*proxy, error) {
	env := []string{"TALOS_LOADTEST_UPSTREAM=" + portOf(e.behind)}
	for i := 0; i+1 < len(settings); i += 2 {
		env = append(env, "TALOS_LOADTEST_"+settings[i]+"="+settings[i+1])
	}
	p, err := e.launch(ctx, variant{name: name, file: "sidecar.caddyfile", env: env})
	if err != nil {
		return nil, err
	}
	e.children = append(e.children, p.process)
	return p, nil
}

// aim makes a target of the load generator.
func (b *bench) aim(name, addr string, credentials []string, ask bool) error {
	_, err := b.do(job{Op: opTarget, Target: name, Addr: addr, Credentials: credentials, Ask: ask})
	return err
}

// each sends the requests of a target once, over some connections. One that is not answered with 200 is an error.
func (b *bench) each(name string, conns int, pace time.Duration) (tally, error) {
	did, err := b.do(job{Op: opEach, Target: name, Conns: conns, Latency: true, Pace: pace})
	if err == nil && did.Failures > 0 {
		err = fmt.Errorf("%s: %d of the requests failed, the first: %s", name, did.Failures, did.First)
	}
	return did, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
