package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	api "github.com/talos-edge/talos-edge/adminapi/client"
)

// options are what the command line asks for. Every one that costs time or memory is bounded by [parseOptions].
type options struct {
	binary      string        // the talos binary; empty: built from the current tree
	stockBinary string        // a plain Caddy; empty: built at the version of go.mod
	rounds      int           // 1 to 1000
	slot        time.Duration // 50 ms to 1 min, one variant's turn in a round
	conns       int           // 1 to 1024 connections
	keys        int           // 1 to 100,000 keys in the variants with many
	only        []string      // names of variants; empty: all
	extra       []variant     // further Caddyfiles, from -extra
	json        bool
	cpuprofile  string // file to write; empty: compare
	gogc        string // GOGC of every variant but stock; empty: the default of the binary
	gomemlimit  string // GOMEMLIMIT, likewise
	sidecar     bool   // measure an edge and its upstream
	feed        feedOptions
}

// feedOptions are those of a run with -edges.
type feedOptions struct {
	edges       int    // 1 to 200 processes, or readers of a backlog; 0: no such run
	revocations int    // 1 to 1000 of each kind
	changes     int    // 3000 to 1,000,000, in thousands
	readers     int    // 1 to 10,000 connections
	before      string // another talos binary; empty: none is compared
}

// parseOptions reads the command line. Usage and complaints of the flag package go to out; [flag.ErrHelp] means that
// help was asked for.
func parseOptions(args []string, out io.Writer) (options, error) {
	o := options{}
	fs := flag.NewFlagSet("loadtest", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&o.binary, "binary", "", "talos binary to measure (default: build the one of this tree)")
	fs.StringVar(&o.stockBinary, "stock-binary", "", "plain Caddy (default: build the version in go.mod)")
	fs.IntVar(&o.rounds, "rounds", 20, "rounds, in each of which every variant has one slot")
	fs.DurationVar(&o.slot, "slot", time.Second, "length of a slot")
	fs.IntVar(&o.conns, "conns", 64, "connections of the load generator")
	fs.IntVar(&o.keys, "keys", 10_000, "keys of the variants with many keys")
	only := fs.String("only", "", "comma separated `variants` to run (default: all)")
	fs.BoolVar(&o.json, "json", false, "print the result as JSON")
	fs.StringVar(&o.cpuprofile, "cpuprofile", "", "write a CPU profile of the gated variants to `file`")
	fs.StringVar(&o.gogc, "gogc", "", "GOGC of every variant but stock (default: unset)")
	fs.StringVar(&o.gomemlimit, "gomemlimit", "", "GOMEMLIMIT of every variant but stock (default: unset)")
	fs.BoolVar(&o.sidecar, "sidecar", false, "measure an edge and its upstream; -only names sections: "+
		strings.Join(namesOf(sections), ", "))
	o.feed.flags(fs)
	fs.Func("extra", "one more variant, `name=Caddyfile`; may be repeated", func(s string) error {
		v, err := extraVariant(s)
		o.extra = append(o.extra, v)
		return err
	})
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return o, o.validateMode(fs)
}

func (f *feedOptions) flags(fs *flag.FlagSet) {
	fs.IntVar(&f.edges, "edges", 0, "measure a node and so many edges that follow its feed; -only names sections: "+
		strings.Join(namesOf(feedSections), ", "))
	fs.IntVar(&f.revocations, "revocations", 200, "revocations with -edges, without waiting and as many with it")
	fs.IntVar(&f.changes, "changes", 100_000, "changes at once with -edges")
	fs.IntVar(&f.readers, "readers", 1000, "edges of one process with -edges")
	fs.StringVar(&f.before, "before", "", "talos binary to compare with -edges -only cost (default: none)")
}

// validateMode judges the flags by what is to be measured.
func (o options) validateMode(fs *flag.FlagSet) error {
	shared := []string{"only", "binary", "json", "gogc", "gomemlimit"}
	ofFeed := []string{"edges", "revocations", "changes", "readers", "before"}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case o.sidecar:
		return o.validateSections(given, "sidecar", append(shared, "sidecar"), namesOf(sections))
	case given["edges"]:
		return errors.Join(o.validateSections(given, "edges", append(shared, ofFeed...), namesOf(feedSections)),
			o.feed.validate())
	}
	for _, name := range ofFeed {
		if given[name] {
			return fmt.Errorf("-%s has a meaning with -edges only", name)
		}
	}
	return o.validate()
}

func (f *feedOptions) validate() error {
	switch {
	case f.edges < 1 || f.edges > 200:
		return fmt.Errorf("-edges %d: must be 1 to 200", f.edges)
	case f.revocations < 1 || f.revocations > 1000:
		return fmt.Errorf("-revocations %d: must be 1 to 1000", f.revocations)
	case f.changes < 3*api.MaxImports || f.changes > 1_000_000 || f.changes%api.MaxImports != 0:
		return fmt.Errorf("-changes %d: must be 3000 to 1000000, in thousands", f.changes)
	case f.readers < 1 || f.readers > 10_000:
		return fmt.Errorf("-readers %d: must be 1 to 10000", f.readers)
	default:
		return nil
	}
}

func (o options) validate() error {
	switch {
	case o.rounds < 1 || o.rounds > 1000:
		return fmt.Errorf("-rounds %d: must be 1 to 1000", o.rounds)
	case o.slot < 50*time.Millisecond || o.slot > time.Minute:
		return fmt.Errorf("-slot %s: must be 50ms to 1m", o.slot)
	case o.conns < 1 || o.conns > 1024:
		return fmt.Errorf("-conns %d: must be 1 to 1024", o.conns)
	case o.keys < 1 || o.keys > 100_000:
		return fmt.Errorf("-keys %d: must be 1 to 100000", o.keys)
	}
	chosen, err := o.variants()
	if err != nil {
		return err
	}
	if o.cpuprofile != "" && !slices.ContainsFunc(chosen, func(v variant) bool { return v.gated }) {
		return fmt.Errorf("-cpuprofile needs a gated variant, and -only %s leaves none", strings.Join(o.only, ","))
	}
	return nil
}

// validateSections refuses flags that a run of sections does not use, and sections that it does not have.
func (o options) validateSections(given map[string]bool, mode string, known, names []string) error {
	for name := range given {
		if !slices.Contains(known, name) {
			return fmt.Errorf("-%s has no meaning with -%s", name, mode)
		}
	}
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			return fmt.Errorf("-only: no section %q", name)
		}
	}
	return nil
}

// variants are the ones to run, in the order of the table.
func (o options) variants() ([]variant, error) {
	all := append(standardVariants(o.keys), o.extra...)
	names := make(map[string]bool, len(all))
	for _, v := range all {
		if names[v.name] {
			return nil, fmt.Errorf("two variants are named %q", v.name)
		}
		names[v.name] = true
	}
	if len(o.only) == 0 {
		return all, nil
	}
	for _, name := range o.only {
		if !names[name] {
			return nil, fmt.Errorf("-only: no variant %q", name)
		}
	}
	return slices.DeleteFunc(all, func(v variant) bool { return !slices.Contains(o.only, v.name) }), nil
}

// length bounds a run: its slots, twice over for warm-ups and slow machines, and ten minutes for building and starting.
func (o options) length() time.Duration {
	if o.sidecar || o.feed.edges > 0 {
		return 20 * time.Minute
	}
	variants := len(standardVariants(o.keys)) + len(o.extra)
	return 10*time.Minute + 4*time.Duration(o.rounds*variants)*(o.slot+warmUp(o.slot))
}
