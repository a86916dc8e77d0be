package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// attemptTimeout bounds one attempt, from the look-up of the name to the end of the answer.
	attemptTimeout = 10 * time.Second
	// maxAnswer is how much of an answer's body is read. Nothing of it is used: it lets the connection be used again.
	maxAnswer = 64 << 10
	// maxErrorText is how much of an error's text is kept, in bytes.
	maxErrorText = 512
)

// Result is how an attempt ended.
type Result string

// The results of attempts, and what became of an event that could not be delivered.
const (
	ResultOK          Result = "ok"
	ResultRejected    Result = "rejected"    // an answer other than 2xx
	ResultTimeout     Result = "timeout"     // no answer in time
	ResultUnreachable Result = "unreachable" // no connection, or no TLS
	ResultForbidden   Result = "forbidden"   // the address is not allowed
	ResultDropped     Result = "dropped"     // the feed does not keep the event any more, or the key has ended
)

// Results are all results.
var Results = [...]Result{
	ResultOK, ResultRejected, ResultTimeout, ResultUnreachable, ResultForbidden, ResultDropped,
}

// Outcome is what came of an attempt.
type Outcome struct {
	Result     Result
	Status     int           // of the answer; 0: there was none
	Took       time.Duration // until the answer, or the error
	Err        error         // nil if the result is ResultOK. It holds neither the secret nor the URL
	retryAfter time.Duration // that the answer asked for
}

// endpoint sends signed messages to a URL.
type endpoint struct {
	url    *url.URL
	secret []byte
	client *http.Client
}

func newEndpoint(c *Config) (*endpoint, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	u, err := c.target()
	if err != nil {
		return nil, err
	}
	secret, err := parseSecret(c.Secret)
	if err != nil {
		return nil, err
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		settings = c.TLS.Clone()
	}
	dial := c.Dial
	if dial == nil {
		dial = dialer(c.Resolver, c.AllowPrivate, isLoopback(u.Hostname()), u.Scheme == "http")
	}
	// HTTP/1.1 alone: an attempt that times out closes its connection, and no other one waits on it.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &endpoint{url: u, secret: secret, client: &http.Client{
		Transport: &http.Transport{
			DialContext: dial, TLSClientConfig: settings, Protocols: protocols,
			TLSHandshakeTimeout: attemptTimeout, // a dial goes on when its attempt has ended
			MaxIdleConnsPerHost: lanes, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: maxAnswer, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// send makes one attempt.
func (e *endpoint) send(ctx context.Context, m *message) Outcome {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	o := e.exchange(ctx, m, began)
	o.Took = time.Since(began)
	return o
}

func (e *endpoint) exchange(ctx context.Context, m *message, now time.Time) Outcome {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.String(), bytes.NewReader(m.body))
	if err != nil {
		return Outcome{Result: ResultUnreachable, Err: errors.New("the request cannot be made")}
	}
	r.Header = http.Header{
		"Content-Type":      {"application/json"},
		"User-Agent":        {"Talos-Edge"},
		"Webhook-Id":        {m.id},
		"Webhook-Timestamp": {strconv.FormatInt(now.Unix(), 10)},
		"Webhook-Signature": {sign(e.secret, m.id, now, m.body)},
	}
	answer, err := e.client.Do(r)
	if err != nil {
		return failed(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // the status has been answered
	return judge(answer)
}

// judge reports what an answer means.
func judge(answer *http.Response) Outcome {
	o := Outcome{Result: ResultRejected, Status: answer.StatusCode}
	status := strconv.Itoa(o.Status) + " " + http.StatusText(o.Status)
	switch {
	case o.Status >= 200 && o.Status < 300:
		o.Result = ResultOK
		return o
	case o.Status >= 300 && o.Status < 400:
		o.Err = fmt.Errorf("the receiver answered %s: redirects are not followed, so configure the URL that it "+
			"redirects to", status)
	case o.Status == http.StatusGone:
		o.Err = fmt.Errorf("the receiver answered %s: it accepts no more deliveries, so remove the webhook", status)
	default:
		o.Err = fmt.Errorf("the receiver answered %s", status)
	}
	o.retryAfter = retryAfter(answer.Header.Get("Retry-After"))
	return o
}

// retryAfter reads the header of this name: seconds or a date. Anything else is 0.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// failed reports what an error of an attempt means. The error of the client names the URL; only its cause is kept.
func failed(ctx context.Context, err error) Outcome {
	if cause, ok := errors.AsType[*url.Error](err); ok {
		err = cause.Err
	}
	if forbidden, ok := errors.AsType[*addressError](err); ok {
		return Outcome{Result: ResultForbidden, Err: forbidden}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return Outcome{Result: ResultTimeout, Err: errors.New("interrupted before the receiver answered")}
	}
	timeout, isTimeout := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	if ctx.Err() != nil || isTimeout && timeout.Timeout() {
		return Outcome{Result: ResultTimeout, Err: fmt.Errorf("the receiver did not answer within %s", attemptTimeout)}
	}
	text := strings.ToValidUTF8(err.Error(), "?") // it may hold what the receiver has sent
	return Outcome{Result: ResultUnreachable, Err: errors.New(text[:min(len(text), maxErrorText)])}
}

// Test sends one signed message of [TypeTest], and reports what came of it. Of c it needs no store. An error is one of
// the settings: nothing was sent.
func Test(ctx context.Context, c Config) (Outcome, error) {
	e, err := newEndpoint(&c)
	if err != nil {
		return Outcome{}, err
	}
	defer e.client.CloseIdleConnections()
	m, err := ofTest(time.Now())
	if err != nil {
		return Outcome{}, err
	}
	return e.send(ctx, m), nil
}

// host names the receiver for logs and metrics.
func (e *endpoint) host() string { return e.url.Host }
