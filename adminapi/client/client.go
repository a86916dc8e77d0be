package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// MaxAnswer is the length of the longest answer that is read, in bytes.
const MaxAnswer = 16 << 20

// DefaultTimeout bounds a call from its start to the end of its answer.
const DefaultTimeout = 30 * time.Second

// Client calls one server. It is safe for concurrent use.
type Client struct {
	base    *url.URL
	http    *http.Client
	timeout time.Duration
	header  http.Header
}

// Option sets up a [Client].
type Option func(*Client)

// WithTimeout bounds each call; 0 leaves that to the caller's context. The default is [DefaultTimeout].
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithHeader adds a header to each call, such as one that an authenticating proxy before the server wants.
func WithHeader(name, value string) Option { return func(c *Client) { c.header.Add(name, value) } }

// WithTransport sends the calls through t. It is not for a unix:// endpoint, which has a transport of its own.
func WithTransport(t http.RoundTripper) Option { return func(c *Client) { c.http.Transport = t } }

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
			return nil, errors.New("endpoint: want http://host:port, with neither query nor fragment")
		}
		base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.RawPath, "/")
	case "unix":
		path := base.Path
		if base.Host != "" || path == "" {
			return nil, errors.New("endpoint: want unix:///path/of/the.sock")
		}
		var d net.Dialer
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}
		base = &url.URL{Scheme: "http", Host: "localhost"}
	default:
		return nil, errors.New("endpoint: want http://, https:// or unix://")
	}
	c := &Client{base: base, timeout: DefaultTimeout, header: http.Header{}, http: &http.Client{
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

// CallOption changes one call.
type CallOption func(http.Header)

// NoCache makes a verification skip the server's cache.
func NoCache() CallOption { return func(h http.Header) { h.Set("Cache-Control", "no-cache") } }

// Do makes one call: in, unless nil, is sent as JSON; the answer is read into out, unless nil, and returned as it was
// written. path begins with a slash, follows the endpoint and is sent as it stands, so whoever builds it escapes its
// parts. A status other than 2xx is an [*Error]; an answer that is not JSON is [ErrAnswer].
func (c *Client) Do(
	ctx context.Context, method, path string, in, out any, opts ...CallOption,
) (json.RawMessage, error) {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for name, values := range c.header {
		req.Header[name] = append([]string(nil), values...)
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, o := range opts {
		o(req.Header)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err // *url.Error: names the call and the address, without a password
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, newError(resp, answer)
	case err != nil:
		return nil, fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	case len(answer) > MaxAnswer:
		return nil, fmt.Errorf("%s %s: %w: it is longer than %d bytes", method, path, ErrAnswer, MaxAnswer)
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
	return answer, nil
}
