package client

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// Option sets up a [Client].
type Option func(*Client)

// WithTimeout bounds each call; 0 leaves that to the caller's context. The default is [DefaultTimeout].
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithHeader adds a header to each call, such as one that an authenticating proxy before the server needs.
func WithHeader(name, value string) Option { return func(c *Client) { c.header.Add(name, value) } }

// WithToken sends a token with each call, as a Bearer credential in the Authorization header: the API itself has no
// login, but a gate or a proxy before it may. Use it with https:// or on loopback only.
func WithToken(token string) Option {
	return func(c *Client) { c.header.Set("Authorization", "Bearer "+token) }
}

// WithHTTPClient sends the calls through a copy of h: its transport, its cookies and its timeout, which bounds each
// attempt. Redirects are not followed, whatever h says: a credential must not go elsewhere. It is not for a unix://
// endpoint, which has a transport of its own.
func WithHTTPClient(h *http.Client) Option {
	return func(c *Client) {
		noRedirect := c.http.CheckRedirect
		copied := *h
		copied.CheckRedirect = noRedirect
		if copied.Transport == nil {
			copied.Transport = http.DefaultTransport
		}
		c.http = &copied
	}
}

// WithTransport sends the calls through t. It is not for a unix:// endpoint, which has a transport of its own.
func WithTransport(t http.RoundTripper) Option { return func(c *Client) { c.http.Transport = t } }

// WithTransportSettings changes the client's own transport before its first call. It has no effect on a transport of
// [WithTransport] that is not an [*http.Transport].
func WithTransportSettings(change func(*http.Transport)) Option {
	return func(c *Client) {
		if t, ok := c.http.Transport.(*http.Transport); ok {
			change(t)
		}
	}
}

// WithTLS sets how the client connects to https:// servers: which certificates it trusts, and which one it presents.
// The settings are copied.
func WithTLS(settings *tls.Config) Option {
	return WithTransportSettings(func(t *http.Transport) { t.TLSClientConfig = settings.Clone() })
}

// WithRetries repeats a call that changes nothing up to n times when the server answers 429 or 503, after the time that
// Retry-After asks for, or else a random one that grows. The time of all of them together is the call's.
func WithRetries(n int) Option { return func(c *Client) { c.retries = n } }

// WithMaxAnswer sets the length of the longest answer that is read, in bytes. The default is [MaxAnswer].
func WithMaxAnswer(n int64) Option { return func(c *Client) { c.maxAnswer = n } }

// WithOnlyJSON refuses an answer whose Content-Type is not JSON, whatever is in it.
func WithOnlyJSON() Option { return func(c *Client) { c.onlyJSON = true } }

// Target is where the client's calls go and what carries them, for whoever passes requests on. Neither the headers of
// [WithHeader] nor the client's timeout are part of it, and it follows redirects no more than the client does.
func (c *Client) Target() (base *url.URL, carrier http.RoundTripper) {
	copied := *c.base
	return &copied, c.http.Transport
}

// CallOption changes one call.
type CallOption func(*request)

// request is one call as it is sent.
type request struct {
	method, path string
	host         string // empty: the endpoint's
	header       http.Header
	body         []byte
	repeatable   bool
	answers      []func(http.Header) // called with the header of each answer
	raw          *json.RawMessage    // gets the answer; nil: nobody does
}

// Raw stores in out the JSON of the answer as the server wrote it, for programs that pass it on. A refusal is not
// stored. [Client.BatchVerify] stores the results of all its calls as one answer.
func Raw(out *json.RawMessage) CallOption { return func(r *request) { r.raw = out } }

// rawOf is what [Raw] among the options names, or nil.
func rawOf(opts []CallOption) *json.RawMessage {
	r := request{header: http.Header{}}
	for _, o := range opts {
		o(&r)
	}
	return r.raw
}

// NoCache makes a verification skip the server's cache.
func NoCache() CallOption { return Header("Cache-Control", "no-cache") }

// Header sets a header.
func Header(name, value string) CallOption { return func(r *request) { r.header.Set(name, value) } }

// Headers sets several headers, in place of those of the same names.
func Headers(h http.Header) CallOption {
	return func(r *request) {
		for name, values := range h {
			r.header[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
		}
	}
}

// Host names another host than the endpoint's in the request. The server finds a network by it.
func Host(name string) CallOption { return func(r *request) { r.host = name } }

// ForClient tells the server the address of the client that the call is about, for keys that may be used from some
// addresses only.
func ForClient(addr netip.Addr) CallOption {
	return Header("X-Forwarded-For", addr.Unmap().WithZone("").String())
}

// Repeatable says that the call may be made a second time: it changes nothing, or the same once more.
func Repeatable() CallOption { return func(r *request) { r.repeatable = true } }

// EdgeAnswer is what a server says about an answer to an edge.
type EdgeAnswer struct {
	// Understood says that the keys alone were judged, and that the results hold their address lists and rate limits.
	// Without it the server judged the caller's own address, and the lists are not known.
	Understood bool
	// Position is a place in the server's feed of changes: of a verification, one before the look-up; of a change, one
	// not before it. 0: not told.
	Position uint64
}

// Edge asks as an edge does: for a verification of the key alone, neither of the address nor of the rate, and with a
// change for its feed position. out is set when an answer arrives.
func Edge(out *EdgeAnswer) CallOption {
	return func(r *request) {
		r.header.Set(EdgeHeader, "1")
		r.answers = append(r.answers, func(h http.Header) { *out = ReadEdgeAnswer(h) })
	}
}

// ReadEdgeAnswer reads what the header of an answer says to an edge.
func ReadEdgeAnswer(h http.Header) EdgeAnswer {
	a := EdgeAnswer{Understood: h.Get(EdgeHeader) == "1"}
	if n, err := strconv.ParseUint(h.Get(PositionHeader), 10, 64); err == nil && a.Understood {
		a.Position = n
	}
	return a
}
