package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// startPatience bounds how long a proxy may take until it answers.
const startPatience = 30 * time.Second

// loopback talks to our own children, never through a proxy of the environment.
var loopback = &http.Client{
	Timeout:   exchangeTimeout,
	Transport: &http.Transport{MaxIdleConnsPerHost: issuers},
}

// A proxy is a variant that runs.
type proxy struct {
	variant
	*process
	addr        string // where the load goes
	api         string // admin API of a gated one
	pprof       string // Caddy's own admin endpoint, if it is on
	metrics     string
	database    string // file of a gated one
	credentials []string
	env         []string
	command     []string
}

// A launcher knows what all proxies of a run have in common.
type launcher struct {
	dir              string
	ours, stock      string // binaries
	app, auth        string // addresses
	gogc, gomemlimit string
	profiling        bool
	credentials      []string // for the ungated
}

// launch starts a variant and waits until it answers. A port that was free may be taken a moment later: three attempts.
func (l *launcher) launch(ctx context.Context, v variant) (*proxy, error) {
	var err error
	for range 3 {
		var p *proxy
		if p, err = l.attempt(ctx, v); err == nil {
			return p, nil
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	return nil, err
}

func (l *launcher) attempt(ctx context.Context, v variant) (*proxy, error) {
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(l.dir, "proxy-")
	if err != nil {
		return nil, err
	}
	text, err := v.caddyfile()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, err
	}
	local := func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
	p := &proxy{
		variant: v, addr: local(ports[0]), metrics: local(ports[1]), database: filepath.ToSlash(dir) + "/talos.db",
	}
	env := []string{
		"TALOS_LOADTEST_PORT=" + strconv.Itoa(ports[0]), "TALOS_LOADTEST_METRICS=" + strconv.Itoa(ports[1]),
		"TALOS_LOADTEST_API=" + strconv.Itoa(ports[2]), "TALOS_LOADTEST_DB=" + p.database,
		"TALOS_LOADTEST_APP=" + portOf(l.app), "TALOS_LOADTEST_AUTH=" + portOf(l.auth),
	}
	env = append(env, v.env...)
	if v.gated {
		p.api = local(ports[2])
	} else {
		p.credentials = l.credentials[:v.keys]
	}
	if l.profiling {
		p.pprof = local(ports[3])
		env = append(env, "TALOS_LOADTEST_PPROF="+p.pprof)
	}
	path := l.stock
	if !v.stock {
		path = l.ours
		env = appendSet(env, "GOGC", l.gogc)
		env = appendSet(env, "GOMEMLIMIT", l.gomemlimit)
	}
	p.env, p.command = childEnv(dir, env...), []string{path, "run", "--config", config, "--adapter", "caddyfile"}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// start runs the proxy, also once more when it has ended, and waits until it answers.
func (p *proxy) start(ctx context.Context) (err error) {
	p.process, err = startProcess(ctx, p.variant.name, false, p.env, p.command[0], p.command[1:]...)
	if err != nil {
		return err
	}
	if err := p.ready(ctx); err != nil {
		p.stop()
		return p.failure(err)
	}
	return nil
}

func appendSet(env []string, name, value string) []string {
	if value == "" {
		return env
	}
	return append(env, name+"="+value)
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// ready waits until the proxy serves its metrics, which it does when all of it runs.
func (p *proxy) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := p.collector(ctx); err == nil {
			return nil
		}
		select {
		case <-p.done:
			return errors.New("ended before it was ready")
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// A collector says how a process's garbage collector is set and how often it has run.
type collector struct {
	gogc   float64
	limit  float64 // bytes
	cycles float64
}

// collector asks the proxy itself: its settings may come from the environment, from its own defaults or from a cgroup.
func (p *proxy) collector(ctx context.Context) (c collector, err error) {
	status, body, err := get(ctx, loopback, "http://"+p.metrics+"/", "")
	if err != nil {
		return c, err
	}
	if status != http.StatusOK {
		return c, fmt.Errorf("metrics: status %d", status)
	}
	lines := bufio.NewScanner(strings.NewReader(string(body)))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		to := map[string]*float64{
			"go_gc_gogc_percent":           &c.gogc,
			"go_gc_gomemlimit_bytes":       &c.limit,
			"go_gc_duration_seconds_count": &c.cycles,
		}[name]
		if to == nil {
			continue
		}
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return c, fmt.Errorf("metrics: %s: %w", name, err)
		}
	}
	return c, lines.Err()
}

// get asks a child for something. It reads as much of the answer as request does.
func get(ctx context.Context, client *http.Client, url, credential string) (int, []byte, error) {
	status, _, answer, err := request(ctx, client, http.MethodGet, url, credential, nil)
	return status, answer, err
}

// request makes one call to a child and reads at most 4 MiB of what it answers.
func request(ctx context.Context, client *http.Client, method, url, credential string, body io.Reader) (
	int, http.Header, []byte, error,
) {
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, nil, nil, err
	}
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, resp.Header, answer, err
}
