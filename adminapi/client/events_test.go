package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// journal serves events 1, 2, 3 and so on in pages of two. It is a transport, so that it works in a bubble.
type journal struct {
	mu     sync.Mutex
	last   int
	asked  []*http.Request
	answer string        // in place of every page
	takes  time.Duration // each call does
}

func (j *journal) RoundTrip(r *http.Request) (*http.Response, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, r)
	select {
	case <-time.After(j.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	page := client.EventsResponse{FeedID: "f", Position: client.Position(min(after+2, j.last))}
	for i := after + 1; i <= int(page.Position); i++ {
		page.Events = append(page.Events, client.Event{Position: client.Position(i), KeyID: strconv.Itoa(i)})
	}
	if int(page.Position) == j.last {
		page.CompleteAge = "0s"
	}
	body, err := json.Marshal(page)
	if j.answer != "" {
		body = []byte(j.answer)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(string(body))), Request: r,
	}, err
}

func (j *journal) client(t *testing.T, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New("http://server.example", append(opts, client.WithHTTPClient(&http.Client{Transport: j}))...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// readEvents is what the iterator yields, up to a number of events; 0: all.
func readEvents(ctx context.Context, c *client.Client, r client.EventsRequest, most int) (ids []string, errs []error) {
	for event, err := range c.Events(ctx, r) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if ids = append(ids, event.KeyID); len(ids) == most {
			break
		}
	}
	return ids, errs
}

func TestAPageOfEventsIsAskedForAndReadAsTheContractSays(t *testing.T) {
	t.Parallel()
	j := &journal{answer: `{"feed_id":"f","position":"18446744073709551615","complete_age":"0.5s","reset":true,
		"events":[
		{"position":"7","time":"2026-11-01T00:00:00Z","type":"IssuedAPIKeyRevoked","key_id":"k","key_type":"issued",
		 "actor_id":"a","caller":{"kind":"address","id":"192.0.2.7"},"reason":"REVOCATION_REASON_SUPERSEDED",
		 "metadata":{"request_id":"r","user":"u","successor_key_id":"n"},"of a newer server":1}]}`}
	page, err := j.client(t).EventsPage(t.Context(), client.EventsRequest{
		After: 1<<64 - 1, FeedID: "f", Wait: 1500 * time.Millisecond, PageSize: 7, Filter: `key_id="k"`,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := j.asked[0]
	if got := r.Method + " " + r.URL.String(); got != "GET http://server.example/v2alpha1/admin/events"+
		"?after=18446744073709551615&filter=key_id%3D%22k%22&page_size=7&wait=1.5s" {
		t.Errorf("asked %s", got)
	}
	if got := r.Header.Get(client.FeedIDHeader); got != "f" {
		t.Errorf("asked of the feed %q", got)
	}
	if page.FeedID != "f" || page.Position != 1<<64-1 || page.CompleteAge != "0.5s" || !page.Reset {
		t.Errorf("got %+v", page)
	}
	e := page.Events[0]
	if e.Position != 7 || e.Time.IsZero() || e.Type != "IssuedAPIKeyRevoked" || e.KeyID != "k" || e.ActorID != "a" ||
		*e.Caller != (client.Caller{Kind: client.CallerAddress, ID: "192.0.2.7"}) ||
		*e.Metadata != (client.EventMetadata{RequestID: "r", User: "u", SuccessorKeyID: "n"}) ||
		e.Reason != client.RevocationReasonSuperseded {
		t.Errorf("got %+v", e)
	}
}

func TestWithoutMoreAPageOfEventsIsAskedForWithoutParameters(t *testing.T) {
	t.Parallel()
	j := &journal{}
	if _, err := j.client(t).EventsPage(t.Context(), client.EventsRequest{}); err != nil {
		t.Fatal(err)
	}
	if r := j.asked[0]; r.URL.RawQuery != "" || r.Header.Get(client.FeedIDHeader) != "" {
		t.Errorf("asked %s", r.URL)
	}
}

func TestEventsAreReadToTheEnd(t *testing.T) {
	t.Parallel()
	j := &journal{last: 5}
	c := j.client(t)
	for range 2 { // it begins anew
		ids, errs := readEvents(t.Context(), c, client.EventsRequest{Filter: "x"}, 0)
		if !slices.Equal(ids, []string{"1", "2", "3", "4", "5"}) || len(errs) > 0 || len(j.asked) != 3 {
			t.Errorf("got %v, %v with %d calls", ids, errs, len(j.asked))
		}
		for i, want := range []string{"", "2", "4"} {
			r := j.asked[i]
			if q := r.URL.Query(); q.Get("after") != want || q.Get("filter") != "x" {
				t.Errorf("call %d is %s", i, r.URL)
			}
			if got := r.Header.Get(client.FeedIDHeader); (got == "f") != (i > 0) {
				t.Errorf("call %d is of the feed %q", i, got)
			}
		}
		j.asked = nil
	}
	if ids, errs := readEvents(t.Context(), c, client.EventsRequest{After: 3}, 0); len(ids) != 2 || len(errs) > 0 {
		t.Errorf("after a position: %v, %v", ids, errs)
	}
	j.asked = nil
	if ids, _ := readEvents(t.Context(), c, client.EventsRequest{}, 2); len(ids) != 2 || len(j.asked) != 1 {
		t.Errorf("%v with %d calls", ids, len(j.asked))
	}
}

func TestEventsAreWaitedForUntilTheContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &journal{last: 1, takes: time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
		defer cancel()
		ids, errs := readEvents(ctx, j.client(t), client.EventsRequest{Wait: time.Second}, 0)
		if !slices.Equal(ids, []string{"1"}) || len(errs) != 1 || !errors.Is(errs[0], context.DeadlineExceeded) {
			t.Errorf("got %v, %v", ids, errs)
		}
		if len(j.asked) != 5 {
			t.Errorf("%d calls", len(j.asked))
		}
	})
}

func TestEventsEndWhenSomeWereMissed(t *testing.T) {
	t.Parallel()
	j := &journal{answer: `{"feed_id":"f","position":"9","complete_age":"0s","events":[{"key_id":"k"}],"reset":true}`}
	for _, after := range []uint64{0, 3} {
		ids, errs := readEvents(t.Context(), j.client(t), client.EventsRequest{After: after}, 0)
		switch {
		case after == 0 && (len(ids) != 1 || len(errs) > 0): // nothing was known before
			t.Errorf("from the beginning: %v, %v", ids, errs)
		case after > 0 && (len(ids) != 0 || len(errs) != 1 || !errors.Is(errs[0], client.ErrEventsMissed)):
			t.Errorf("after %d: %v, %v", after, ids, errs)
		}
	}
}

func TestEventsOfAServerThatDoesNotGoOnEnd(t *testing.T) {
	t.Parallel()
	for _, position := range []string{"0", "4", "5"} {
		j := &journal{answer: `{"feed_id":"f","position":"` + position + `","events":[]}`}
		for _, wait := range []time.Duration{0, time.Second} {
			_, errs := readEvents(t.Context(), j.client(t), client.EventsRequest{After: 5, Wait: wait}, 0)
			if len(errs) != 1 || !errors.Is(errs[0], client.ErrAnswer) {
				t.Errorf("at %s: %v", position, errs)
			}
		}
	}
}

func TestEventsEndWithTheirFirstError(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"no JSON", `{"position":"x"}`, `{"position":-1}`, `{"position":null}`} {
		j := &journal{answer: answer}
		ids, errs := readEvents(t.Context(), j.client(t), client.EventsRequest{Wait: time.Second}, 0)
		if len(ids) != 0 || len(errs) != 1 || !errors.Is(errs[0], client.ErrAnswer) || len(j.asked) != 1 {
			t.Errorf("%s: %v, %v with %d calls", answer, ids, errs, len(j.asked))
		}
	}
}

func TestTheTimeoutOfACallCountsBesideItsWait(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		wait, takes time.Duration
		ok          bool
	}{
		{0, 1900 * time.Millisecond, true},
		{0, 2100 * time.Millisecond, false},
		{30 * time.Second, 31900 * time.Millisecond, true},
		{30 * time.Second, 32100 * time.Millisecond, false},
		{-time.Minute, 2100 * time.Millisecond, false}, // the server refuses it; it must not take the timeout away
	} {
		t.Run(fmt.Sprint(tc.wait, tc.takes), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := &journal{takes: tc.takes}
				c := j.client(t, client.WithTimeout(2*time.Second))
				_, err := c.EventsPage(t.Context(), client.EventsRequest{Wait: tc.wait})
				if (err == nil) != tc.ok || err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		})
	}
}
