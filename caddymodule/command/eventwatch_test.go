package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// transport answers requests without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// watched is what became of a watch: what it asked for and when, and what it printed.
type watched struct {
	asked          []string
	at             []time.Duration // since the begin
	stdout, stderr string
	err            error
}

// refusal refuses a request; retryAfter may be empty.
func refusal(status int, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", retryAfter)
		refuse(w, status, "X", "the reason")
	}
}

// noConnection is in the place of an answer when no server listens.
var noConnection http.HandlerFunc

// eventsAnswer is an answer of a feed.
func eventsAnswer(position int, more string, events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"feed_id":"f","position":"%d"%s,"events":[%s]}`,
			position, more, strings.Join(events, ","))
	}
}

// withoutEvents is an answer that is not the API's.
func withoutEvents(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"position":"9"`+completeAge+`}`)
}

// completeAge is the part of an answer that says that there are no more events.
const completeAge = `,"complete_age":"0s"`

// watch runs a watch after position 5 against a server that gives these answers. After them it is interrupted. Call it
// in a bubble of synctest.
func watch(t *testing.T, f format, answers ...http.HandlerFunc) (got watched) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	begin := time.Now()
	c, err := client.New("http://localhost:1", client.WithOnlyJSON(),
		client.WithTransport(transport(func(r *http.Request) (*http.Response, error) {
			n := len(got.asked)
			if n == len(answers) {
				interrupt()
				return nil, ctx.Err()
			}
			got.asked = append(got.asked, fmt.Sprintf("after=%s wait=%s feed=%s",
				r.FormValue("after"), r.FormValue("wait"), r.Header.Get(client.FeedIDHeader)))
			got.at = append(got.at, time.Since(begin))
			if answers[n] == nil {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
			}
			w := httptest.NewRecorder()
			answers[n](w, r)
			return w.Result(), nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	w := newEventWatcher(cmd, &options{format: f, endpoint: "http://localhost:1"}, c)
	w.request.After = 5
	got.err = w.run(ctx)
	got.stdout, got.stderr = stdout.String(), stderr.String()
	return got
}

func TestAWatchGoesOnWhereItWasWhenTheServerAnswersAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := watch(t, formatJSON,
			eventsAnswer(7, completeAge, createdEvent),
			noConnection, noConnection, refusal(http.StatusServiceUnavailable, "9"),
			noConnection, noConnection, noConnection, noConnection,
			eventsAnswer(7, completeAge),
			eventsAnswer(9, completeAge, revokedEvent),
			refusal(http.StatusTooManyRequests, ""), eventsAnswer(10, completeAge, updatedEvent),
		)
		want := createdEvent + "\n" + revokedEvent + "\n" + updatedEvent + "\n"
		if got.err != nil || got.stdout != want {
			t.Errorf("%v, printed %q", got.err, got.stdout)
		}
		const reading = "Reading events from http://localhost:1 "
		want = reading + "failed: dial tcp: connection refused. Trying again.\n" + reading + "works again.\n" +
			reading + "failed: the reason (HTTP 429). Trying again.\n" + reading + "works again.\n" +
			"The last position is 10: --after 10 goes on.\n"
		if got.stderr != want {
			t.Errorf("standard error %q\nwant %q", got.stderr, want)
		}
		var pauses []time.Duration
		for i := range got.at[1:] {
			pauses = append(pauses, got.at[i+1]-got.at[i])
		}
		const s = time.Second
		if want := []time.Duration{0, s, 2 * s, 9 * s, 8 * s, 16 * s, 30 * s, 30 * s, 0, 0, s}; fmt.Sprint(pauses) !=
			fmt.Sprint(want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
		for i, want := range map[int]string{
			0:  "after=5 wait=30s feed=",
			1:  "after=7 wait=30s feed=f",
			2:  "after=7 wait= feed=f", // is it there again?
			8:  "after=7 wait= feed=f",
			9:  "after=7 wait=30s feed=f",
			10: "after=9 wait=30s feed=f",
		} {
			if got.asked[i] != want {
				t.Errorf("call %d: %s, want %s", i, got.asked[i], want)
			}
		}
	})
}

func TestAWatchThatWasQuietForLongGoesOnFromTheLastEventThatWasLookedAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := watch(t, formatJSON, eventsAnswer(5000, completeAge), noConnection, eventsAnswer(5000, completeAge))
		if want := "after=5000 wait= feed=f"; got.err != nil || got.asked[2] != want {
			t.Errorf("%v, asked %q, want %q", got.err, got.asked[2], want)
		}
	})
}

func TestAWatchEndsWhenTheServerRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"400": {refusal(http.StatusBadRequest, ""), "the reason (HTTP 400)"},
		"403": {refusal(http.StatusForbidden, ""), "the reason (HTTP 403)"},
		"404": {
			refusal(http.StatusNotFound, ""),
			"the reason (HTTP 404); this server has no feed of events",
		},
		"not this API": {withoutEvents, "not one of the v2alpha1 API"},
		"events are gone": {
			eventsAnswer(90, `,"reset":true`, revokedEvent),
			"after position 7, events have been missed",
		},
		"leads no further": {eventsAnswer(7, ``), "not one of the v2alpha1 API"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				got := watch(t, formatJSON, eventsAnswer(7, completeAge, createdEvent), c.answer)
				if got.err == nil || !strings.Contains(got.err.Error(), c.want) || got.stdout != createdEvent+"\n" {
					t.Errorf("%v, printed %q, want %q", got.err, got.stdout, c.want)
				}
			})
		})
	}
}

// Nobody waits for a server that was never there.
func TestAWatchEndsWhenItsFirstCallFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, answer := range []http.HandlerFunc{noConnection, refusal(http.StatusServiceUnavailable, "")} {
			if got := watch(t, formatTable, answer); got.err == nil || len(got.asked) != 1 {
				t.Errorf("%v after %v", got.err, got.asked)
			}
		}
	})
	_, stderr, err := runTree(t.Context(), "", "events", "watch", "-e", nobody)
	if err == nil || !strings.Contains(stderr, "talos serve") {
		t.Errorf("%v: %s", err, stderr)
	}
}

func TestAWatchThatIsInterruptedWhileItPausesEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		time.AfterFunc(time.Second, cancel)
		sleep(ctx, time.Hour)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestWhatAWatchPrintsInEachFormat(t *testing.T) {
	t.Parallel()
	for _, f := range formats {
		t.Run(f, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				got := watch(t, format(f), eventsAnswer(9, completeAge, createdEvent, revokedEvent),
					eventsAnswer(9, completeAge), eventsAnswer(10, completeAge, updatedEvent))
				if got.err != nil {
					t.Error(got.err)
				}
				golden(t, "events/watch."+f, got.stdout)
			})
		})
	}
}

func TestWhereAWatchBegins(t *testing.T) {
	t.Parallel()
	const end = "18446744073709551615"
	for name, c := range map[string]struct {
		args  []string
		first string // the position that it asks after first
	}{
		"from now on":         {nil, end},
		"from now on, of one": {[]string{"--key", testKeyID}, end},
		"after a position":    {[]string{"--after", "42"}, "42"},
		"from the oldest on":  {[]string{"--after", "0"}, ""},
		"since then":          {[]string{"--since", "24h"}, ""},
		"both":                {[]string{"--since", "24h", "--after", "42"}, "42"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var asked []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if asked = append(asked, r.FormValue("after")); len(asked) == 2 {
					cancel()
				}
				_, _ = io.WriteString(w, `{"feed_id":"f","position":"77","complete_age":"0s","events":[]`)
				if r.FormValue("after") == end || r.FormValue("after") == "" {
					_, _ = io.WriteString(w, `,"reset":true`)
				}
				_, _ = io.WriteString(w, `}`)
			}))
			defer srv.Close()
			_, stderr, err := runTree(ctx, "", append([]string{"events", "watch", "-e", srv.URL}, c.args...)...)
			if err != nil || len(asked) < 2 || asked[0] != c.first || asked[1] != "77" {
				t.Errorf("%v, asked %v, %s", err, asked, stderr)
			}
			if strings.Contains(stderr, "after position 77.") != (c.first == end) {
				t.Errorf("standard error %q", stderr)
			}
		})
	}
}

// startWatch runs the binary's watch and waits until it watches.
func startWatch(t *testing.T, endpoint string, args ...string) (cmd *exec.Cmd, events, hints *bufio.Scanner) {
	t.Helper()
	cmd = exec.CommandContext(context.WithoutCancel(t.Context()), binary(t),
		append([]string{"events", "watch", "-e", endpoint}, args...)...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	events, hints = bufio.NewScanner(stdout), bufio.NewScanner(stderr)
	if !hints.Scan() || !strings.HasPrefix(hints.Text(), "Watching for events after position ") {
		t.Fatalf("standard error %q", hints.Text())
	}
	return cmd, events, hints
}

func TestAWatchPrintsEventsAsTheyComeAndOutlastsARestartOfTheServer(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	first := serveBinary(t, env)
	var target atomic.Pointer[url.URL] // the server may get another port, and the watch does not know
	setTarget := func(s *server) {
		u, err := url.Parse(s.endpoint)
		if err != nil {
			t.Fatal(err)
		}
		target.Store(u)
	}
	setTarget(first)
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target.Load()) },
		Transport: &http.Transport{DisableKeepAlives: true},
		ErrorLog:  log.New(io.Discard, "", 0),
	})
	t.Cleanup(proxy.Close)

	first.issue(t) // before the watch
	cmd, events, hints := startWatch(t, proxy.URL, "--format", "json")
	wantCreated := func(keyID string) {
		t.Helper()
		if !events.Scan() || !strings.Contains(events.Text(), `"IssuedAPIKeyCreated","key_id":"`+keyID+`"`) {
			t.Errorf("printed %q, which does not have the creation of %s", events.Text(), keyID)
		}
	}
	wantHint := func(part string) {
		t.Helper()
		if !hints.Scan() || !strings.Contains(hints.Text(), part) {
			t.Errorf("standard error %q, want %q", hints.Text(), part)
		}
	}
	_, keyID := first.issue(t)
	wantCreated(keyID)
	if err := first.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	wantHint("Trying again")
	second := serveBinary(t, env)
	_, keyID = second.issue(t)
	setTarget(second)
	wantHint("works again")
	wantCreated(keyID)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	wantHint("The last position is 3: --after 3 goes on.")
	if events.Scan() {
		t.Errorf("printed %q", events.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}
