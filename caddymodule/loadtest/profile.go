package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// maxProfile bounds one proxy's profile; a compiler needs no longer one.
const maxProfile = 2 * time.Minute

// profile loads each gated proxy for rounds × slot while Caddy's admin endpoint takes its CPU profile, and merges the
// profiles into file.
func (b *bench) profile(ctx context.Context, file string) error {
	seconds := max(int(min(time.Duration(b.rounds)*b.slot, maxProfile).Seconds()), 1)
	args := []string{"tool", "pprof", "-proto", "-output", file}
	for _, p := range b.proxies {
		b.say("%s: profile of %d s", p.variant.name, seconds)
		part := filepath.Join(b.dir, p.variant.name+".pprof")
		if err := b.profileOf(ctx, p, seconds, part); err != nil {
			return err
		}
		args = append(args, part)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("merge the profiles: %w\n%s", err, out)
	}
	return nil
}

func (b *bench) profileOf(ctx context.Context, p *proxy, seconds int, file string) error {
	length := time.Duration(seconds) * time.Second
	ctx, cancel := context.WithTimeout(ctx, length+startPatience)
	defer cancel()
	type result struct {
		body []byte
		err  error
	}
	taken := make(chan result, 1)
	go func() {
		body, err := p.takeProfile(ctx, seconds)
		taken <- result{body, err}
	}()
	// The profile begins during the load and ends before it.
	did, err := b.do(job{
		Op: opRun, Target: p.variant.name, Conns: b.conns, Warm: warmUp(b.slot), Slot: length + time.Second,
	})
	if err != nil {
		cancel()
	}
	got := <-taken
	switch {
	case err != nil:
		return err
	case got.err != nil:
		return p.failure(got.err)
	case did.Failures > 0:
		return p.failure(fmt.Errorf("%d failures, the first: %s", did.Failures, did.First))
	}
	return os.WriteFile(file, got.body, 0o600)
}

func (p *proxy) takeProfile(ctx context.Context, seconds int) ([]byte, error) {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.pprof, seconds)
	client := &http.Client{Transport: loopback.Transport} // without a limit of its own: ctx has one
	status, body, err := get(ctx, client, url, "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("profile: status %d", status)
	}
	return body, err
}
