package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"text/tabwriter"
	"time"
)

// A report is the result of a run, as -json prints it.
type report struct {
	Time    time.Time    `json:"time"`
	Machine string       `json:"machine"` // operating system, architecture, processors
	Go      string       `json:"go"`
	Rounds  int          `json:"rounds"`
	Slot    string       `json:"slot"`
	Conns   int          `json:"conns"`
	Rows    []row        `json:"rows"`
	Pairs   []comparison `json:"comparisons"`
}

// A row is one variant.
type row struct {
	Name       string   `json:"name"`
	About      string   `json:"about"`
	Rate       *spread  `json:"requests_per_second"`
	CPU        *float64 `json:"cpu_us_per_request"` // null where it cannot be read
	P50        *spread  `json:"p50_us_at_one_connection"`
	P99        *spread  `json:"p99_us_at_one_connection"`
	GOGC       string   `json:"gogc"`
	GOMEMLIMIT string   `json:"gomemlimit"`
	Cycles     float64  `json:"gc_cycles_per_1000_requests"`
	Requests   uint64   `json:"requests"`
	Failures   uint64   `json:"failures"`
	First      string   `json:"first_failure,omitempty"`
}

// A comparison is a variant against another of the same rounds, beside the goal of the project. The goal decides
// nothing here: a figure depends on the machine.
type comparison struct {
	What  string  `json:"what"`
	Unit  string  `json:"unit,omitempty"`
	Value *spread `json:"value"`
	Goal  string  `json:"goal,omitempty"`
}

// goals are the comparisons worth making; those of which a side did not run are left out.
var goals = []struct {
	a, b, goal string
	latency    bool
}{
	{a: gateOne, b: bare, goal: "≥ 0.98"},
	{a: gateMany, b: bare, goal: "≥ 0.98"},
	{a: gateOne, b: forwardAuth, goal: "≥ 1.8"},
	{a: gateMany, b: forwardAuth, goal: "≥ 1.8"},
	{a: gateOne, b: stock, goal: "≥ 1.25"},
	{a: gateMany, b: stock, goal: "≥ 1.25"},
	{a: gateQuiet, b: bareQuiet, goal: "≥ 0.98"},
	{a: bareQuiet, b: bare},
	{a: bare, b: stock},
	{a: forwardAuth, b: bare},
	{a: gateOne, b: bare, goal: "≤ 5", latency: true},
	{a: gateMany, b: bare, goal: "≤ 5", latency: true},
	{a: gateQuiet, b: bareQuiet, goal: "≤ 5", latency: true},
	{a: forwardAuth, b: bare, latency: true},
}

func (b *bench) report(all map[string]*series) report {
	r := report{
		Time: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), Rounds: b.rounds, Slot: b.slot.String(),
		Machine: fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()), Conns: b.conns,
	}
	for _, p := range b.proxies {
		r.Rows = append(r.Rows, all[p.variant.name].row(p.variant))
	}
	for _, g := range goals {
		r.Pairs = appendPair(r.Pairs, all, g.a, g.b, g.goal, g.latency)
	}
	for _, p := range b.proxies {
		if p.extra {
			r.Pairs = appendPair(r.Pairs, all, p.variant.name, bare, "", false)
			r.Pairs = appendPair(r.Pairs, all, p.variant.name, stock, "", false)
		}
	}
	return r
}

func appendPair(pairs []comparison, all map[string]*series, a, b, goal string, latency bool) []comparison {
	if all[a] == nil || all[b] == nil {
		return pairs
	}
	c := comparison{What: a + " / " + b, Goal: goal, Value: known(combine(all[a].rate, all[b].rate, ratio))}
	if latency {
		c.What, c.Unit = a+" − "+b+", p50 at one connection", "µs"
		c.Value = known(combine(all[a].p50, all[b].p50, difference))
	}
	return append(pairs, c)
}

// known is the spread of those samples that are numbers, or nil.
func known(samples []float64) *spread {
	samples = keep(samples, func(v float64) bool { return !math.IsNaN(v) })
	if len(samples) == 0 {
		return nil
	}
	s := spreadOf(samples)
	return &s
}

func (s *series) row(v variant) row {
	r := row{
		Name: v.name, About: v.about, Rate: known(s.rate), P50: known(s.p50), P99: known(s.p99),
		GOGC: percent(s.after.gogc), GOMEMLIMIT: mebibytes(s.after.limit),
		Requests: s.requests, Failures: s.failures, First: s.first,
	}
	if s.requests > 0 {
		r.Cycles = (s.after.cycles - s.before.cycles) * 1000 / float64(s.requests)
		if s.cpuKnown {
			cpu := microseconds(s.cpu) / float64(s.requests)
			r.CPU = &cpu
		}
	}
	return r
}

// percent writes a GOGC, of which "off" is reported as a number beyond any sense.
func percent(v float64) string {
	if v < 0 || v > 1e9 {
		return "off"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func mebibytes(v float64) string {
	if v >= math.MaxInt64 {
		return "off"
	}
	return strconv.FormatFloat(v/(1<<20), 'f', 0, 64) + "MiB"
}

// failed is the number of requests that were not answered with 200.
func (r report) failed() (n uint64) {
	for _, row := range r.Rows {
		n += row.Failures
	}
	return n
}

func (r report) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// writeText prints the tables. Writing to a tabwriter does not fail; its Flush tells what did.
func (r report) writeText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) }
	line("%s, %s, %d rounds of %s, %d connections\n", r.Machine, r.Go, r.Rounds, r.Slot, r.Conns)
	line("variant\treq/s (quartiles)\tCPU µs/req\tp50 µs at 1\tp99 µs at 1\tGC/1000\tGOGC\tGOMEMLIMIT\tfailures\t")
	for _, row := range r.Rows {
		cpu := "n/a"
		if row.CPU != nil {
			cpu = strconv.FormatFloat(*row.CPU, 'f', 1, 64)
		}
		line("%s\t%s\t%s\t%s\t%s\t%.2f\t%s\t%s\t%d %s\t", row.Name, around(row.Rate, 0), cpu, middle(row.P50),
			middle(row.P99), row.Cycles, row.GOGC, row.GOMEMLIMIT, row.Failures, row.First)
	}
	line("\ncomparison, median of the rounds\tquartiles\tgoal\t")
	for _, c := range r.Pairs {
		digits := 3
		if c.Unit != "" {
			digits = 1
		}
		line("%s\t%s %s\t%s\t", c.What, around(c.Value, digits), c.Unit, c.Goal)
	}
	line("")
	for _, row := range r.Rows {
		line("%s:\t%s", row.Name, row.About)
	}
	return t.Flush()
}

func around(s *spread, digits int) string {
	if s == nil {
		return "n/a"
	}
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', digits, 64) }
	return fmt.Sprintf("%s (%s–%s)", f(s.Median), f(s.Q1), f(s.Q3))
}

func middle(s *spread) string {
	if s == nil {
		return "n/a"
	}
	return strconv.FormatFloat(s.Median, 'f', 1, 64)
}
