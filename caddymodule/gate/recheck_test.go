package gate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core"
)

func TestRecheck_AGoodKeysStreamGoesOnAndCountsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limited := *goodVerdict()
		limited.RateLimit = core.RateLimitPolicy{Quota: 1, Window: time.Minute}
		s := &script{verdict: &limited}
		stream := run(t, rechecking(t, s), nil)
		wait(95 * time.Second)
		if stream.done.Load() || s.judged() != 10 {
			t.Errorf("ended %t, judged %d times, want once and nine times again", stream.done.Load(), s.judged())
		}
		if s.taken != 1 {
			t.Errorf("counted %d times towards the limit", s.taken)
		}
		stream.release()
		synctest.Wait()
		if !stream.done.Load() || stream.err != nil || !slices.Equal(s.counted, []string{"admitted ok"}) {
			t.Errorf("ended %t with %v, counted %q", stream.done.Load(), stream.err, s.counted)
		}
		wait(time.Minute)
		if s.judged() != 10 {
			t.Error("judged after its end")
		}
	})
}

func TestRecheck_AStreamIsClosedWhenItsKeyIsNoLongerGood(t *testing.T) {
	t.Parallel()
	// changed is a good verdict with a change.
	changed := func(change func(v *core.Verdict)) func() *core.Verdict {
		return func() *core.Verdict {
			v := *goodVerdict()
			change(&v)
			return &v
		}
	}
	for name, tc := range map[string]struct {
		then   func() *core.Verdict
		reason string
		status int
	}{
		"revoked": {revokedVerdict, "revoked", 401},
		"deleted": {func() *core.Verdict {
			return core.Unknown(core.NetworkID{}, "x", core.ImportedKey)
		}, "invalid", 401},
		"expired": {changed(func(v *core.Verdict) {
			v.ExpireTime = time.Now().Add(-time.Second)
		}), "expired", 401},
		"without scope": {changed(func(v *core.Verdict) { v.Scopes = nil }), "scope", 403},
		"from elsewhere": {changed(func(v *core.Verdict) {
			v.AllowedCIDRs = cidrs(t, "192.0.2.0/24")
		}), "ip", 403},
		"from this client": {changed(func(v *core.Verdict) {
			v.AllowedCIDRs = cidrs(t, "203.0.113.0/24")
		}), "", 0},
	} {
		for _, begun := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, response begun %t", name, begun), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := &script{verdict: goodVerdict()}
					var writer http.ResponseWriter
					stream := run(t, rechecking(t, s), func(w http.ResponseWriter, _ *http.Request) {
						writer = w
						w.Header().Set("X-App", "secret")
						if begun {
							_, _ = io.WriteString(w, "data")
						}
					})
					wait(15 * time.Second)
					s.say(tc.then(), nil)
					wait(4 * time.Second)
					if stream.done.Load() {
						t.Fatal("closed before the interval")
					}
					wait(2 * time.Second)
					if tc.reason == "" {
						if stream.done.Load() {
							t.Error("closed")
						}
						stream.release()
						return
					}
					if !stream.done.Load() {
						t.Fatal("still open")
					}
					if want := []string{"admitted ok", "refused " + tc.reason}; !slices.Equal(s.counted, want) {
						t.Fatalf("counted %q, want %q", s.counted, want)
					}
					if _, err := writer.Write([]byte("more")); err == nil {
						t.Error("bytes pass after the end")
					}
					if _, err := io.Copy(writer, strings.NewReader("more")); err == nil {
						t.Error("bytes pass after the end")
					}
					if err, _ := stream.err.(error); begun && !errors.Is(err, http.ErrAbortHandler) {
						t.Errorf("ended with %v: the client takes it for the whole", stream.err)
					}
					body := stream.w.Body.String()
					if begun != strings.HasPrefix(body, "data") || strings.Contains(body, "more") {
						t.Errorf("body %q", body)
					}
					if begun {
						return
					}
					if stream.w.Code != tc.status {
						t.Errorf("status %d, want %d", stream.w.Code, tc.status)
					}
					header := stream.w.Header()
					if header.Get("X-App") != "" || header.Get("Cache-Control") != "no-store" {
						t.Errorf("headers %v", header)
					}
				})
			})
		}
	}
}

func TestRecheck_AStreamGoesOnForTheStaleWindow(t *testing.T) {
	t.Parallel()
	down := core.NewError(core.Unavailable, "the database does not answer")
	synctest.Test(t, func(t *testing.T) {
		s := &script{verdict: goodVerdict(), window: 30 * time.Second}
		stream := run(t, rechecking(t, s), nil)
		wait(25 * time.Second) // good at 20
		s.say(nil, down)
		wait(20 * time.Second) // cannot say at 30 and 40
		s.say(goodVerdict(), nil)
		wait(10 * time.Second) // good at 50
		s.say(nil, down)
		wait(33 * time.Second) // cannot say at 60, 70 and 80, open at 88
		if stream.done.Load() {
			t.Fatal("closed within the window")
		}
		wait(3 * time.Second) // at 90
		if !stream.done.Load() || stream.w.Code != http.StatusServiceUnavailable {
			t.Errorf("ended %t, %d", stream.done.Load(), stream.w.Code)
		}
		if !slices.Equal(s.counted, []string{"admitted ok", "unavailable unavailable"}) {
			t.Errorf("counted %q", s.counted)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a stale verdict is good, and no reason to believe another one later
		s := &script{verdict: goodVerdict(), window: 30 * time.Second}
		stream := run(t, rechecking(t, s), nil)
		s.mu.Lock()
		s.stale = true
		s.mu.Unlock()
		wait(45 * time.Second) // stale at 10 to 40
		if stream.done.Load() {
			t.Fatal("closed while a stale verdict serves")
		}
		s.say(nil, down)
		wait(10 * time.Second)
		if !stream.done.Load() {
			t.Error("still open")
		}
	})
	synctest.Test(t, func(t *testing.T) { // admitted by a stale verdict: the window has begun before the stream
		s := &script{verdict: goodVerdict(), stale: true, window: 30 * time.Second}
		stream := run(t, rechecking(t, s), nil)
		wait(25 * time.Second) // stale at 10 and 20
		if stream.done.Load() {
			t.Fatal("closed while a stale verdict serves")
		}
		s.say(nil, down)
		wait(10 * time.Second)
		if !stream.done.Load() {
			t.Error("still open")
		}
	})
	synctest.Test(t, func(t *testing.T) { // without a stale window
		s := &script{verdict: goodVerdict()}
		stream := run(t, rechecking(t, s), nil)
		s.say(nil, down)
		wait(11 * time.Second)
		if !stream.done.Load() {
			t.Error("still open")
		}
	})
}

func TestRecheck_WithoutItNothingIsAdded(t *testing.T) {
	t.Parallel()
	s := &script{verdict: goodVerdict()}
	g := newTestGate(t, &Gate{}, s, nil)
	r, w := inCaddy(requestWith(t, "Authorization: Bearer k")), httptest.NewRecorder()
	err := g.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(got http.ResponseWriter, behind *http.Request) error {
		if got != http.ResponseWriter(w) || behind != r {
			t.Errorf("the handler gets %T", got)
		}
		return nil
	}))
	if err != nil {
		t.Error(err)
	}
}

// pipeWriter is a ResponseRecorder whose connection can be taken over.
type pipeWriter struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (w pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// A handler may leave an upgraded connection to a goroutine of its own.
func TestRecheck_AnUpgradedConnectionIsJudgedUntilItIsClosed(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]bool{"revoked": true, "closed by its handler": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{verdict: goodVerdict()}
				ours, theirs := net.Pipe()
				var taken net.Conn
				next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) (err error) {
					taken, _, err = http.NewResponseController(w).Hijack()
					return err
				})
				w := pipeWriter{httptest.NewRecorder(), ours}
				r := inCaddy(requestWith(t, "Authorization: Bearer k"))
				if err := rechecking(t, s).ServeHTTP(w, r, next); err != nil {
					t.Fatal(err)
				}
				wait(25 * time.Second)
				if s.judged() != 3 {
					t.Errorf("judged %d times, want once and twice again", s.judged())
				}
				go func() { _, _ = theirs.Write([]byte("hello")) }()
				buffer := make([]byte, 5)
				if _, err := io.ReadFull(taken, buffer); err != nil || string(buffer) != "hello" {
					t.Errorf("read %q, %v", buffer, err)
				}
				if revoke {
					s.say(revokedVerdict(), nil)
					wait(10 * time.Second)
				} else {
					_ = taken.Close()
				}
				if _, err := theirs.Read(buffer); !errors.Is(err, io.EOF) {
					t.Errorf("the client reads %v", err)
				}
				asked := s.judged()
				wait(time.Minute)
				if s.judged() != asked {
					t.Error("judged after its end")
				}
				_ = taken.Close()
				if w.Body.Len() > 0 {
					t.Errorf("a response was written: %q", w.Body)
				}
			})
		})
	}
}

// Behind another gate no credential is left on the request.
func TestRecheck_ASecondGateRechecksByItsOwnRules(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{verdict: goodVerdict()}
		first, second := newTestGate(t, &Gate{}, s, nil), rechecking(t, s)
		var ended atomic.Bool
		go func() {
			app := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
				value := caddyhttp.GetVar(r.Context(), identityVar)
				if text := fmt.Sprintf("%+v %s", value, caddy.ToString(value)); text != "admitted admitted" {
					t.Errorf("the variable reads %s", text)
				}
				<-r.Context().Done()
				return nil
			})
			behindFirst := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
				return second.ServeHTTP(w, r, app)
			})
			r := inCaddy(requestWith(t, "Authorization: Bearer k"))
			if err := first.ServeHTTP(httptest.NewRecorder(), r, behindFirst); err != nil {
				t.Error(err)
			}
			ended.Store(true)
		}()
		wait(15 * time.Second)
		if ended.Load() {
			t.Fatal("closed while the key was good")
		}
		v := *goodVerdict()
		v.Scopes = []string{"b"}
		s.say(&v, nil)
		wait(10 * time.Second)
		if !ended.Load() {
			t.Error("still open")
		}
	})
}

func TestRecheck_AnIntervalUnderASecondIsAnError(t *testing.T) {
	t.Parallel()
	for interval, good := range map[time.Duration]bool{
		0: true, time.Second: true, time.Hour: true, time.Second - 1: false, 1: false, -time.Second: false,
	} {
		err := (&Gate{Recheck: node.Duration(interval)}).setUp(&script{}, caddy.Log())
		if (err == nil) != good {
			t.Errorf("%s: %v", interval, err)
		}
	}
}
