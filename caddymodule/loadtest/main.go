package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// roleEnv makes this program one of its own children.
const (
	roleEnv       = "TALOS_LOADTEST_ROLE"
	roleApp       = "app"
	roleAuth      = "auth"
	roleGenerator = "generator"
	roleLink      = "link"
	roleFilter    = "filter"
)

func main() {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(exitCode(play(role, os.Stdin, os.Stdout)))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	_, _ = fmt.Fprintln(os.Stderr, "loadtest:", err) // nowhere else to tell
	return 1
}

// play runs a child in its role, until its input ends.
func play(role string, in io.Reader, out io.Writer) error {
	switch role {
	case roleApp:
		return serveApp(in, out)
	case roleAuth:
		return serveAuth(in, out)
	case roleGenerator:
		return generate(in, out)
	case roleLink:
		return serveLink(in, out)
	case roleFilter:
		return serveFilter(in, out)
	}
	return fmt.Errorf("no role %q", role)
}

// run does what the command line asks for and prints the result to out; progress goes to progress. A request that was
// not answered with 200 is an error; a goal that is not reached is none.
func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	o, err := parseOptions(args, progress)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.length())
	defer cancel()
	if o.sidecar {
		return runSidecar(ctx, o, fullSizes, out, progress)
	}
	if o.feed.edges > 0 {
		return runFeed(ctx, o, fullFeedSizes, out, progress)
	}
	b, err := newBench(ctx, o, progress)
	defer func() { err = b.end(ctx, err) }()
	if err != nil {
		return err
	}
	if o.cpuprofile != "" {
		return b.profile(ctx, o.cpuprofile)
	}
	all, err := b.compare(ctx)
	if err != nil {
		return err
	}
	r := b.report(all)
	if o.json {
		err = r.writeJSON(out)
	} else {
		err = r.writeText(out)
	}
	if n := r.failed(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d requests failed", n))
	}
	return err
}
