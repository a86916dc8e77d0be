package redis_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/storage/redis"
	"github.com/talos-edge/talos-edge/storage/redis/redistest"
)

// hammerEnv makes the test binary a process that uses one key until it has been refused often enough. Its value is the
// URL; hammerQuotaEnv holds the key's quota.
const (
	hammerEnv      = "TALOS_TEST_HAMMER"
	hammerQuotaEnv = "TALOS_TEST_HAMMER_QUOTA"
)

// hammer uses a key from several goroutines, and writes how many uses were allowed. It begins when its standard input
// ends.
func hammer(url string) (exit int) {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	quota, err := strconv.ParseInt(os.Getenv(hammerQuotaEnv), 10, 64)
	if err != nil {
		return fail(err)
	}
	var allowed, local atomic.Int64
	l, err := redis.Open(url, redis.Observer{Local: func(bool) { local.Add(1) }})
	if err != nil {
		return fail(err)
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return fail(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for refused := 0; refused < 100; {
				r, err := l.Take(context.Background(), network, "hammered", seldom(quota))
				switch {
				case err != nil:
					fail(err)
					return
				case r.Allowed:
					allowed.Add(1)
				default:
					refused++
				}
			}
		})
	}
	all.Wait()
	if err := l.Close(); err != nil {
		return fail(err)
	}
	if n := local.Load(); n != 0 {
		return fail(fmt.Errorf("%d uses were not counted in Redis", n))
	}
	_, _ = fmt.Fprint(os.Stdout, allowed.Load())
	return 0
}

func TestTake_TenProcessesGetTheQuotaAndNoMore(t *testing.T) {
	t.Parallel()
	quota := int64(3000)
	if os.Getenv("TALOS_LONG") != "" {
		quota = 1_000_000
	}
	url := patient(redistest.Start(t))
	type process struct {
		*exec.Cmd
		begin    io.Closer
		out, err strings.Builder
	}
	var processes []*process
	for range 10 {
		p := &process{Cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")}
		p.Env = append(os.Environ(), hammerEnv+"="+url, hammerQuotaEnv+"="+strconv.FormatInt(quota, 10))
		p.Stdout, p.Stderr = &p.out, &p.err
		var err error
		if p.begin, err = p.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		processes = append(processes, p)
	}
	began := time.Now()
	for _, p := range processes {
		if err := p.begin.Close(); err != nil {
			t.Error(err)
		}
	}
	var allowed, had int64
	for _, p := range processes {
		if err := p.Wait(); err != nil {
			t.Fatalf("%v: %s", err, p.err.String())
		}
		n, err := strconv.ParseInt(p.out.String(), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if allowed += n; n > 0 {
			had++
		}
	}
	cameBack := int64(time.Since(began) / ratelimit.CellOf(seldom(quota), time.Microsecond).Interval)
	if allowed < quota || allowed > quota+cameBack {
		t.Errorf("%d uses were allowed, want %d, and at most the %d more that came back meanwhile", allowed, quota,
			cameBack)
	}
	if had < 2 {
		t.Errorf("%d processes had a use, so nothing was shared", had)
	}
}
