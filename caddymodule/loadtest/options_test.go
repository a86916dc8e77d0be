package main

import (
	"errors"
	"flag"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestFlagsRefuseNonsense(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"-rounds 0", "-rounds -1", "-rounds 1001", "-rounds many",
		"-slot 49ms", "-slot 61s", "-slot -1s", "-slot 1",
		"-conns 0", "-conns 1025",
		"-keys 0", "-keys 100001",
		"-only nobody", "-only bare,", "-only Bare",
		"-extra", "-extra x", "-extra x=", "-extra =file", "-extra X/y=file", "-extra bare=file",
		"-extra a=1 -extra a=2",
		"-cpuprofile file -only bare",
		"-unknown", "argument",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			if o, err := parseOptions(strings.Fields(args), io.Discard); err == nil {
				t.Errorf("accepted as %+v", o)
			}
		})
	}
}

func TestHelpIsNoFailure(t *testing.T) {
	t.Parallel()
	var usage strings.Builder
	_, err := parseOptions([]string{"-help"}, &usage)
	if !errors.Is(err, flag.ErrHelp) || exitCode(err) != 0 || !strings.Contains(usage.String(), "-cpuprofile file") {
		t.Errorf("-help: %v, usage %q", err, usage.String())
	}
}

func TestOnlyChoosesAndExtraAdds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"", []string{bare, gateOne, gateMany, forwardAuth, stock, bareQuiet, gateQuiet}},
		{"-only stock,bare", []string{bare, stock}},
		{"-extra mine=f", []string{bare, gateOne, gateMany, forwardAuth, stock, bareQuiet, gateQuiet, "mine"}},
		{"-extra mine=f -only mine,bare", []string{bare, "mine"}},
	} {
		o, err := parseOptions(strings.Fields(tt.args), io.Discard)
		if err != nil {
			t.Fatalf("%q: %v", tt.args, err)
		}
		chosen, err := o.variants()
		if err != nil {
			t.Fatalf("%q: %v", tt.args, err)
		}
		var names []string
		for _, v := range chosen {
			names = append(names, v.name)
		}
		if !slices.Equal(names, tt.want) {
			t.Errorf("%q chooses %v, want %v", tt.args, names, tt.want)
		}
	}
}

func TestEveryRunIsBounded(t *testing.T) {
	t.Parallel()
	o, err := parseOptions(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := o.length().Minutes(); got < 10 || got > 30 {
		t.Errorf("the default run may take %.0f minutes", got)
	}
}

func TestEveryVariantHasItsCaddyfile(t *testing.T) {
	t.Parallel()
	for _, v := range standardVariants(10) {
		text, err := v.caddyfile()
		if err != nil {
			t.Errorf("%s: %v", v.name, err)
			continue
		}
		for want, wanted := range map[string]bool{
			"talos_gate": v.gated, "talos_admin": v.gated, "forward_auth ": v.auth,
			"keepalive_idle_conns_per_host": !v.stock,
			"reverse_proxy ":                true, "\tmetrics\n": true,
			"persist_config off": true, "bind 127.0.0.1": true,
		} {
			if got := strings.Contains(uncommented(string(text)), want); got != wanted {
				t.Errorf("%s: has %q: %v, want %v", v.name, want, got, wanted)
			}
		}
	}
}

// uncommented drops the lines that are comments.
func uncommented(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(keep(lines, func(l string) bool { return !strings.HasPrefix(l, "#") }), "")
}
