package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// MaxAnswer is the length of the longest answer that is read, in bytes. A page of 1000 keys, each of which has the
// longest of everything that it can have, fits into it.
const MaxAnswer = 64 << 20

// DefaultTimeout bounds a call from its start to the end of its answer.
const DefaultTimeout = 30 * time.Second

// Client calls one server. It is safe for concurrent use.
type Client struct {
	base    *url.URL
	http    *http.Client
	timeout time.Duration
	header  http.Header

	retries   int
	maxAnswer int64
	onlyJSON  bool
}

// New makes a client of the server at an endpoint: http://host:port or https://host, with a path before the API's own
// if there is one, or unix:///path/of/the.sock.
func New(endpoint string, opts ...Option) (*Client, error) {
	base, err := url.Parse(endpoint)
	if err != nil {
		return nil, errors.New("endpoint: not a URL") // the cause repeats the URL, which may hold a password
	}
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		transport = &http.Transport{}
	}
	transport = transport.Clone()
	switch base.Scheme {
	case "http", "https":
		if base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
			return nil, errors.New("endpoint: must be http://host:port, with neither query nor fragment")
		}
		base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.RawPath, "/")
	case "unix":
		path := base.Path
		if base.Host != "" || path == "" {
			return nil, errors.New("endpoint: must be unix:///path/of/the.sock")
		}
		var d net.Dialer
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}
		base = &url.URL{Scheme: "http", Host: "localhost"}
	default:
		return nil, errors.New("endpoint: must be http://, https:// or unix://")
	}
	c := &Client{base: base, timeout: DefaultTimeout, header: http.Header{}, maxAnswer: MaxAnswer, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// Close closes the connections that no call is using.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do makes one call: in, unless nil, is sent as JSON; the answer is read into out, unless nil, and returned as it was
// written. path begins with a slash, follows the endpoint and is sent unchanged, so whoever builds it escapes its
// parts. A status other than 2xx is an [*Error]; an answer that is not JSON is [ErrAnswer].
//
// A call that changes nothing, see [Repeatable], is made a second time when its connection ended before the answer
// began, and as often as [WithRetries] says when the server refused it for now.
func (c *Client) Do(
	ctx context.Context, method, path string, in, out any, opts ...CallOption,
) (json.RawMessage, error) {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	r := request{method: method, path: path, header: http.Header{}, repeatable: method == http.MethodGet}
	for name, values := range c.header {
		r.header[name] = append([]string(nil), values...)
	}
	r.header.Set("Accept", "application/json")
	if in != nil {
		var err error
		if r.body, err = json.Marshal(in); err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		r.header.Set("Content-Type", "application/json")
	}
	for _, o := range opts {
		o(&r)
	}
	answer, err := c.persist(ctx, &r)
	if err != nil {
		return nil, err
	}
	answer = bytes.TrimSpace(answer)
	if out == nil && len(answer) == 0 {
		return nil, nil
	}
	if !json.Valid(answer) {
		return nil, fmt.Errorf("%s %s: %w: it is not JSON", method, path, ErrAnswer)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			return nil, fmt.Errorf("%s %s: %w: a field has another type", method, path, ErrAnswer)
		}
	}
	if r.raw != nil {
		*r.raw = answer
	}
	return answer, nil
}

// once sends a request and reads its answer.
func (c *Client) once(ctx context.Context, r *request) ([]byte, error) {
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base.String()+r.path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	req.Header = r.header.Clone()
	if r.host != "" {
		req.Host = r.host
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, WithoutAnswer(err) // *url.Error: names the call and the address, without a password
	}
	defer func() { _ = resp.Body.Close() }()
	for _, answer := range r.answers {
		answer(resp.Header)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, c.maxAnswer+1))
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, newError(resp, answer)
	case err != nil:
		return nil, fmt.Errorf("%s %s: reading the answer: %w", r.method, r.path, WithoutAnswer(err))
	case int64(len(answer)) > c.maxAnswer:
		return nil, fmt.Errorf("%s %s: %w: it is longer than %d bytes", r.method, r.path, ErrAnswer, c.maxAnswer)
	case c.onlyJSON && !saysJSON(resp.Header):
		return nil, fmt.Errorf("%s %s: %w: it does not say that it is JSON", r.method, r.path, ErrAnswer)
	}
	return answer, nil
}

// saysJSON reports whether an answer's Content-Type is JSON (RFC 8259) or made of it (RFC 6839, section 3.1).
func saysJSON(h http.Header) bool {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (t == "application/json" || strings.HasSuffix(t, "+json"))
}
