package caddymodule_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// reloads is how many reloads the storm has: few by default, a thousand with TALOS_LONG=1.
func reloads() int {
	if os.Getenv("TALOS_LONG") != "" {
		return 1000
	}
	return 16
}

// stormConfig is the configuration of a reload. Every second one changes a setting that the pooled pieces depend on.
func stormConfig(i int) string {
	variants := []string{
		"storage sqlite://FOLDER/a.db\nhmac_secret SECRET",
		"storage sqlite://FOLDER/b.db\nhmac_secret SECRET",
		"storage sqlite://FOLDER/a.db\nhmac_secret SECRET\ncache {\nmax_size 8MiB\n}",
		"storage sqlite://FOLDER/a.db\nhmac_secret SECRET RETIRED",
		"storage sqlite://FOLDER/b.db\nhmac_secret SECRET\ncache off",
	}
	v := variants[i/2%len(variants)]
	v = strings.NewReplacer("SECRET", strings.Repeat("s", 40), "RETIRED", strings.Repeat("r", 40)).Replace(v)
	return "talos {\n" + v + "\n}"
}

// TestAttack24_ReloadsUnderLoadLoseNoRequest reloads while clients use the gate, the private surface and a key that the
// node does not know yet, and looks for what was left behind.
func TestAttack24_ReloadsUnderLoadLoseNoRequest(t *testing.T) {
	s := newSolo(t)
	first := stormConfig(0)
	s.mustLoad(first, onlyAdmin)
	id, secret := s.issue()
	s.stop()
	copyFile(t, filepath.Join(s.folder, "a.db"), filepath.Join(s.folder, "b.db"))
	before, heapBefore := left(), heap()

	s.mustLoad(first, onlyAdmin)
	ctx, cancel := context.WithCancel(t.Context())
	var served, repeated, failed atomic.Int64
	var wg sync.WaitGroup
	progress := make(chan struct{})
	done := func() {
		served.Add(1)
		select {
		case progress <- struct{}{}:
		default: // nobody waits for it
		}
	}
	fail := func(format string, args ...any) {
		if failed.Add(1) < 10 {
			t.Errorf(format, args...)
		}
	}
	for range 6 {
		wg.Go(func() {
			c := newPlainClient(t)
			defer c.CloseIdleConnections()
			for ctx.Err() == nil {
				status, body, err := getRepeated(c, s.addr, secret, &repeated)
				if err != nil || status != http.StatusOK || body != id {
					fail("a good key: %d %q %v", status, body, err)
				}
				done()
			}
		})
	}
	wg.Go(func() { // keys that are looked up, and refused
		c := newPlainClient(t)
		defer c.CloseIdleConnections()
		for i := 0; ctx.Err() == nil; i++ {
			status, _, err := getRepeated(c, s.addr, fmt.Sprintf("nobody-has-imported-this-%d", i), &repeated)
			if err != nil || status != http.StatusUnauthorized {
				fail("an unknown key: %d %v", status, err)
			}
			done()
		}
	})
	wg.Go(func() { // writes
		c, err := client.New("http://"+s.addr, client.WithTransport(newPlainClient(t).Transport))
		if err != nil {
			fail("%v", err)
			return
		}
		defer c.Close()
		for i := 0; ctx.Err() == nil; i++ {
			request := client.IssueRequest{Name: "a key", ActorID: "someone", RequestID: fmt.Sprint("storm-", i)}
			var made client.IssueResponse
			for range repeats {
				_, err = c.Do(context.WithoutCancel(ctx),
					http.MethodPost, "/v2alpha1/admin/issuedApiKeys", request, &made)
				if refused := new(client.Error); err == nil || errors.As(err, &refused) {
					break
				}
				repeated.Add(1)
			}
			if err != nil || made.IssuedAPIKey.KeyID == "" {
				fail("issuing: %v", err)
			}
			done()
		}
	})

	for i := 1; i <= reloads(); i++ {
		if err := s.load(stormConfig(i), onlyAdmin); err != nil {
			t.Errorf("reload %d: %v", i, err)
			break
		}
		for range 20 { // each configuration serves for a while
			<-progress
		}
	}
	cancel()
	wg.Wait()
	t.Logf("%d requests during %d reloads: %d failed, %d connections were cut before an answer and tried again",
		served.Load(), reloads(), failed.Load(), repeated.Load())
	s.stop()
	if open := uses(); open != nil {
		t.Errorf("open: %v", open)
	}
	waitUntilClosed(t, before)
	after := heap()
	t.Logf("heap: %d KiB before, %d KiB after", heapBefore>>10, after>>10)
	if after > heapBefore+32<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", heapBefore, after)
	}
}

// heap is the memory that is in use, without garbage.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one left in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// repeats is how often a client tries. Caddy's listeners of the old and the new configuration are two sockets
// (SO_REUSEPORT), and the system resets connections that wait at the one that closes; a server of net/http closes a new
// connection without a word when it is shutting down. Neither reaches a handler.
const repeats = 20

// getRepeated is getGated until there is an answer, whatever it says.
func getRepeated(c *http.Client, addr, secret string, repeated *atomic.Int64) (status int, body string, err error) {
	for range repeats {
		if status, body, err = getGated(c, addr, secret); err == nil {
			break
		}
		repeated.Add(1)
	}
	return status, body, err
}

func getGated(c *http.Client, addr, secret string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+addr+"/gated", nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer closeBody(res)
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// remains is what a process has open.
type remains struct {
	goroutines, files int
}

func left() remains {
	files, _ := os.ReadDir("/proc/self/fd") // none where there is no /proc
	return remains{runtime.NumGoroutine(), len(files)}
}

// waitUntilClosed waits until the process has no more open than before. Caddy lets go of listeners and connections,
// and its storage of a lock, some time after it has stopped.
func waitUntilClosed(t *testing.T, before remains) {
	t.Helper()
	const slack = 2 // goroutines of the runtime's and of the test's own
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		now := left()
		if now.goroutines <= before.goroutines+slack && now.files <= before.files+slack {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.Done():
			stacks := make([]byte, 1<<16)
			stacks = stacks[:runtime.Stack(stacks, true)]
			t.Errorf("left behind: %+v, before: %+v\n%s", now, before, stacks)
			return
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAttack24_StopUnderLoadEndsWhatHasBegun stops Caddy while requests are being served.
func TestAttack24_StopUnderLoadEndsWhatHasBegun(t *testing.T) {
	s := newSolo(t)
	s.mustLoad(stormConfig(0), onlyAdmin)
	_, secret := s.issue()
	var wg sync.WaitGroup
	begun := make(chan struct{}, 64)
	var odd atomic.Int64
	for range 8 {
		wg.Go(func() {
			c := newPlainClient(t)
			defer c.CloseIdleConnections()
			for {
				status, _, err := getGated(c, s.addr, secret)
				if err != nil {
					return // the listener has closed
				}
				if status != http.StatusOK {
					odd.Add(1)
				}
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	for range cap(begun) {
		<-begun
	}
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if n := odd.Load(); n != 0 {
		t.Errorf("%d requests were refused while stopping", n)
	}
	if open := uses(); open != nil {
		t.Errorf("open: %v", open)
	}
}
