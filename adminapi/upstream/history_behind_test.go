package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// behindAddress is an address of a node whose answers to look-ups are up to an age old, and say so by their positions:
// those of a copy of the database that is behind.
type behindAddress struct {
	node *restartable
	age  time.Duration

	mu       sync.Mutex
	answered map[string]pastAnswer
}

type pastAnswer struct {
	asked time.Time
	w     *httptest.ResponseRecorder
}

func (b *behindAddress) serve(r *http.Request) (w *httptest.ResponseRecorder, arrives bool) {
	if !strings.HasSuffix(r.URL.Path, ":batchVerify") {
		return b.node.serve(r)
	}
	body, _ := io.ReadAll(r.Body)
	asked := time.Now()
	b.mu.Lock()
	past, known := b.answered[string(body)]
	b.mu.Unlock()
	if known && asked.Sub(past.asked) < b.age {
		return past.w, true
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	w, arrives = b.node.serve(r)
	if !arrives || w.Code != http.StatusOK {
		return w, arrives
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answered == nil {
		b.answered = make(map[string]pastAnswer)
	}
	b.answered[string(body)] = pastAnswer{asked, w}
	return w, arrives
}

// lateFeed is a node whose feed is read some time after the changes, as by a process that polls a database seldom. What
// it says of how complete the feed is is true.
type lateFeed struct {
	node *restartable
	age  time.Duration // 0: the feed is the node's own

	mu   sync.Mutex
	ends []feedEnd // in the order of time
}

// feedEnd is the position of the last change that was acknowledged before a moment, or of a later one.
type feedEnd struct {
	at       time.Time
	position uint64
}

func newLateFeed(node *restartable, age time.Duration) *lateFeed {
	return &lateFeed{node: node, age: age}
}

const feedPoll = 200 * time.Millisecond

// watch notes where the feed ends, until ctx ends.
func (f *lateFeed) watch(ctx context.Context) func() {
	return func() {
		for f.age > 0 && ctx.Err() == nil {
			at := time.Now()
			f.node.running(func(p *process) {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.ends = append(f.ends, feedEnd{at, p.store.Positions().Applied()})
			})
			pause(ctx, feedPoll)
		}
	}
}

// end is where the feed ends for who reads it now.
func (f *lateFeed) end() (last feedEnd) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.ends {
		if time.Since(e.at) < f.age {
			break
		}
		last = e
	}
	return last
}

func (f *lateFeed) serve(r *http.Request) (w *httptest.ResponseRecorder, arrives bool) {
	if f.age == 0 || !strings.HasSuffix(r.URL.Path, "/events") {
		return f.node.serve(r)
	}
	q := r.URL.Query()
	wait, _ := core.ParseDuration(q.Get("wait"))
	after, _ := strconv.ParseUint(q.Get("after"), 10, 64)
	q.Del("wait")
	for until := time.Now().Add(wait); ; pause(r.Context(), feedPoll) {
		asked := r.Clone(r.Context())
		asked.URL.RawQuery = q.Encode()
		w, arrives = f.node.serve(asked)
		var page client.EventsResponse
		if !arrives || w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &page) != nil {
			return w, arrives
		}
		end := f.end()
		if end.at.IsZero() {
			return nil, false // the node has just started
		}
		f.limit(&page, after, end)
		if page.Reset || len(page.Events) > 0 || !time.Now().Before(until) || r.Context().Err() != nil {
			w.Body.Reset()
			_ = json.NewEncoder(w.Body).Encode(&page)
			return w, arrives
		}
	}
}

// limit leaves out what is behind an end of the feed.
func (*lateFeed) limit(page *client.EventsResponse, after uint64, end feedEnd) {
	cut := slices.IndexFunc(page.Events, func(e client.Event) bool { return uint64(e.Position) > end.position })
	if cut >= 0 {
		page.Events = page.Events[:cut]
	}
	if uint64(page.Position) > end.position {
		page.Position = client.Position(end.position)
		page.CompleteAge = "0s"
		if !page.Reset && after != math.MaxInt64 {
			page.Position = client.Position(max(after, end.position))
		}
	}
	if page.CompleteAge != "" {
		page.CompleteAge = core.FormatSeconds(time.Since(end.at))
	}
}
