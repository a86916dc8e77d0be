package gate

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// script is an authority that says what a test last told it.
type script struct {
	node.Node
	mu      sync.Mutex
	verdict *core.Verdict
	stale   bool
	err     error
	window  time.Duration
	asked   int
	counted []string
	taken   int
}

func (s *script) say(verdict *core.Verdict, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdict, s.err = verdict, err
}

func (s *script) judged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *script) Hold() node.Node { return s }

func (*script) Release() {}

func (*script) Several() bool { return false }

func (*script) MayServe(core.NetworkID) bool { return false }

func (*script) Serves(core.NetworkID) error { return nil }

func (*script) Network(*http.Request) (core.NetworkID, error) { return core.NetworkID{}, nil }

func (s *script) Verify(_ *http.Request, _ core.NetworkID, cred string) (verify.Result, error) {
	if cred != "k" {
		return verify.Result{}, errors.New("another credential")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	result := verify.Result{Verdict: s.verdict, Now: time.Now(), Cache: verify.Hit}
	if s.stale {
		result.Cache = verify.Stale
	}
	return result, s.err
}

func (s *script) StaleWindow() time.Duration { return s.window }

func (s *script) Limiter() ratelimit.Limiter { return s }

func (s *script) Take(context.Context, core.NetworkID, string, core.RateLimitPolicy) (ratelimit.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	return ratelimit.Result{Allowed: true}, nil
}

func (s *script) Close() error { return nil }

func (s *script) countDecision(_ core.NetworkID, d decision, r reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counted = append(s.counted, decisionNames[d]+" "+reasonNames[r])
}

// running is a request at a gate with `recheck 10s` whose handler runs until it is let go or its context ends.
type running struct {
	w    *httptest.ResponseRecorder
	done atomic.Bool
	err  any // what ServeHTTP returned or panicked with

	release context.CancelFunc
}

// run starts a request. begin is what the handler does first.
func run(t *testing.T, g *Gate, begin func(w http.ResponseWriter, r *http.Request)) *running {
	t.Helper()
	ctx, release := context.WithCancel(t.Context())
	run := &running{w: httptest.NewRecorder(), release: release}
	r := inCaddy(requestWith(t, "Authorization: Bearer k"))
	go func() {
		defer func() {
			if v := recover(); v != nil {
				run.err = v
			}
			run.done.Store(true)
		}()
		err := g.ServeHTTP(run.w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			if begin != nil {
				begin(w, r)
			}
			for ctx.Err() == nil && r.Context().Err() == nil {
				r.Header.Set("X-Written", "by a handler")
				caddyhttp.SetVar(r.Context(), "written", "by a handler")
				select {
				case <-ctx.Done():
				case <-r.Context().Done():
				case <-time.After(time.Second):
				}
			}
			return r.Context().Err()
		}))
		if err != nil {
			run.err = err
		}
	}()
	synctest.Wait()
	return run
}

func rechecking(t *testing.T, s *script) *Gate {
	t.Helper()
	return newTestGate(t, &Gate{Recheck: node.Duration(10 * time.Second), Scopes: []string{"a"}}, s, nil)
}

// wait lets time pass.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func revokedVerdict() *core.Verdict {
	v := *goodVerdict()
	v.Status = core.StatusRevoked
	return &v
}
