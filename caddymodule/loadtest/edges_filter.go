package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// eventsPath is that of the feed in the admin API.
const eventsPath = "/v2alpha1/admin/events"

// A filterJob is the first line on a filter's input: the API that lies behind it, and whether that has a feed.
type filterJob struct {
	To     string `json:"to"`
	NoFeed bool   `json:"no_feed"` // questions for events are answered with 404
}

// serveFilter is the role of a filter, which passes calls of an API on. It writes its address to out and ends when in
// does.
func serveFilter(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var j filterJob
	if err := json.Unmarshal(line, &j); err != nil {
		return err
	}
	ln, err := listen(out)
	if err != nil {
		return err
	}
	return serveUntilEnd(lines, ln, j.handler())
}

// handler passes calls on without the headers of a proxy: an admin API refuses those of a proxy that it does not trust.
func (j *filterJob) handler() http.Handler {
	to := &url.URL{Scheme: "http", Host: j.To}
	onward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if j.NoFeed && r.URL.Path == eventsPath {
			http.NotFound(w, r)
			return
		}
		onward.ServeHTTP(w, r)
	})
}

// filter starts a filter in front of an API, and returns its address.
func (b *bench) filter(ctx context.Context, to string, noFeed bool) (p *process, addr string, err error) {
	if p, err = b.role(ctx, roleFilter); err != nil {
		return nil, "", err
	}
	if err = json.NewEncoder(p.stdin).Encode(filterJob{To: to, NoFeed: noFeed}); err == nil {
		addr, err = readAddress(p)
	}
	if err != nil {
		return nil, "", p.failure(err)
	}
	return p, addr, nil
}
