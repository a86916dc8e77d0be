package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
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
		strings.Join(sectionNames(), ", "))
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
	if o.sidecar {
		return o, o.validateSidecar(fs)
	}
	return o, o.validate()
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

// validateSidecar refuses what has no meaning for an edge: the sizes of its sections are the goals'.
func (o options) validateSidecar(fs *flag.FlagSet) (err error) {
	known := []string{"sidecar", "only", "binary", "json", "gogc", "gomemlimit"}
	fs.Visit(func(f *flag.Flag) {
		if !slices.Contains(known, f.Name) {
			err = fmt.Errorf("-%s has no meaning with -sidecar", f.Name)
		}
	})
	for _, name := range o.only {
		if !slices.Contains(sectionNames(), name) {
			return fmt.Errorf("-only: no section %q", name)
		}
	}
	return err
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
	if o.sidecar {
		return 20 * time.Minute
	}
	variants := len(standardVariants(o.keys)) + len(o.extra)
	return 10*time.Minute + 4*time.Duration(o.rounds*variants)*(o.slot+warmUp(o.slot))
}
