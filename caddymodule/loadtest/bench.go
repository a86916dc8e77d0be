package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// A bench is a run with everything that it started.
type bench struct {
	options
	launcher
	progress  io.Writer
	generator *process
	jobs      *json.Encoder
	answers   *json.Decoder
	proxies   []*proxy
	children  []*process
}

// newBench builds, starts and fills everything that the chosen variants need. The caller closes the bench, also after
// an error, on the goroutine that called newBench: it is locked to its thread until then.
func newBench(ctx context.Context, o options, progress io.Writer) (b *bench, err error) {
	runtime.LockOSThread()
	b = &bench{options: o, progress: progress}
	if b.dir, err = os.MkdirTemp("", "talos-loadtest-"); err != nil {
		return b, err
	}
	b.launcher.gogc, b.launcher.gomemlimit, b.profiling = o.gogc, o.gomemlimit, o.cpuprofile != ""
	chosen, err := o.variants()
	if err != nil {
		return b, err
	}
	if b.profiling {
		chosen = keep(chosen, func(v variant) bool { return v.gated })
	}
	if err := b.binaries(ctx, chosen); err != nil {
		return b, err
	}
	for range o.keys {
		b.credentials = append(b.credentials, forged())
	}
	if err := b.helpers(ctx); err != nil {
		return b, err
	}
	for _, v := range chosen {
		if err := b.add(ctx, v); err != nil {
			return b, err
		}
	}
	return b, nil
}

func keep[T any](items []T, wanted func(T) bool) (kept []T) {
	for _, item := range items {
		if wanted(item) {
			kept = append(kept, item)
		}
	}
	return kept
}

func (b *bench) binaries(ctx context.Context, chosen []variant) (err error) {
	if len(keep(chosen, func(v variant) bool { return !v.stock })) > 0 {
		b.say("our binary: %s", orBuild(b.binary))
		if b.ours, err = binaryFor(ctx, b.binary, b.dir, ourMain); err != nil {
			return err
		}
	}
	if len(keep(chosen, func(v variant) bool { return v.stock })) > 0 {
		b.say("plain Caddy: %s", orBuild(b.stockBinary))
		b.stock, err = binaryFor(ctx, b.stockBinary, b.dir, stockMain)
	}
	return err
}

func orBuild(given string) string {
	if given == "" {
		return "building"
	}
	return given
}

// helpers starts the app, the auth server and the load generator: this program again, in other roles.
func (b *bench) helpers(ctx context.Context) error {
	app, err := b.role(ctx, roleApp)
	if err != nil {
		return err
	}
	if b.app, err = readAddress(app); err != nil {
		return app.failure(err)
	}
	auth, err := b.role(ctx, roleAuth)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(auth.stdin).Encode(b.credentials); err != nil {
		return auth.failure(err)
	}
	if b.auth, err = readAddress(auth); err != nil {
		return auth.failure(err)
	}
	b.generator, err = b.role(ctx, roleGenerator)
	if err != nil {
		return err
	}
	b.jobs, b.answers = json.NewEncoder(b.generator.stdin), json.NewDecoder(b.generator.stdout)
	return nil
}

func (b *bench) role(ctx context.Context, role string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := startProcess(ctx, role, true, childEnv(b.dir, roleEnv+"="+role), self)
	if err == nil {
		b.children = append(b.children, p)
	}
	return p, err
}

// add starts a variant, issues its keys, checks that it does what it is said to do and sends each credential once.
func (b *bench) add(ctx context.Context, v variant) error {
	p, err := b.launch(ctx, v)
	if err != nil {
		return err
	}
	b.proxies, b.children = append(b.proxies, p), append(b.children, p.process)
	if p.gated {
		began := time.Now()
		if err := p.issue(ctx, p.keys); err != nil {
			return err
		}
		b.say("%s: %d keys issued in %s", p.variant.name, p.keys, time.Since(began).Round(time.Millisecond))
	}
	if err := p.sane(ctx); err != nil {
		return err
	}
	target := job{Op: opTarget, Target: p.variant.name, Addr: p.addr, Credentials: p.credentials}
	if _, err := b.do(target); err != nil {
		return err
	}
	did, err := b.do(job{Op: opEach, Target: p.variant.name, Conns: b.conns})
	if err == nil && did.Failures > 0 {
		err = p.failure(fmt.Errorf("%d failures at first sight of the keys, the first: %s", did.Failures, did.First))
	}
	return err
}

// do gives the load generator a job and waits for its tally.
func (b *bench) do(j job) (did tally, err error) {
	if err = b.jobs.Encode(j); err == nil {
		err = b.answers.Decode(&did)
	}
	if err != nil {
		err = b.generator.failure(err)
	}
	return did, err
}

func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, format+"\n", args...) // progress is for whoever watches
}

// close ends every child and removes the temporary folder.
func (b *bench) close() error {
	for _, p := range b.children {
		p.cancel() // all at once
	}
	for _, p := range b.children {
		p.stop()
	}
	runtime.UnlockOSThread()
	loopback.CloseIdleConnections()
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(filepath.Clean(b.dir))
}

// A series is what one variant did, a value a round.
type series struct {
	rate     []float64 // requests/s
	p50, p99 []float64 // µs at one connection
	requests uint64    // of the slots at b.conns connections, warm-ups included
	cpu      time.Duration
	cpuKnown bool
	failures uint64
	first    string
	before   collector
	after    collector
}

// compare gives each variant its slots: first all rounds at b.conns connections, then all at one.
func (b *bench) compare(ctx context.Context) (map[string]*series, error) {
	all := make(map[string]*series, len(b.proxies))
	for _, p := range b.proxies {
		s := &series{cpuKnown: true}
		var err error
		if s.before, err = p.collector(ctx); err != nil {
			return nil, p.failure(err)
		}
		all[p.variant.name] = s
	}
	rounds := func(conns int, latency bool) error {
		for r := range b.rounds {
			b.say("round %d of %d at %d connections", r+1, b.rounds, conns)
			for _, p := range rotated(b.proxies, r) {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := b.slotOf(p, all[p.variant.name], conns, latency); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := rounds(b.conns, false); err != nil {
		return nil, err
	}
	for _, p := range b.proxies {
		var err error
		if all[p.variant.name].after, err = p.collector(ctx); err != nil {
			return nil, p.failure(err)
		}
	}
	return all, rounds(1, true)
}

func (b *bench) slotOf(p *proxy, s *series, conns int, latency bool) error {
	before, ok := cpuTime(p.pid)
	did, err := b.do(job{
		Op: opRun, Target: p.variant.name, Conns: conns, Warm: warmUp(b.slot), Slot: b.slot, Latency: latency,
	})
	if err != nil {
		return err
	}
	after, ok2 := cpuTime(p.pid)
	if s.failures += did.Failures; s.first == "" {
		s.first = did.First
	}
	if latency {
		s.p50 = append(s.p50, microseconds(did.P50))
		s.p99 = append(s.p99, microseconds(did.P99))
		return nil
	}
	rate := did.perSecond()
	if did.Window == 0 {
		rate = math.NaN()
	}
	s.rate = append(s.rate, rate)
	s.requests += did.Requests
	s.cpu += after - before
	s.cpuKnown = s.cpuKnown && ok && ok2
	return nil
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
