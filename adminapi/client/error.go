package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ErrAnswer says that the server's answer was not one of this API: no JSON, too long, or not what was asked for.
var ErrAnswer = errors.New("the answer is not one of the v2alpha1 API")

// errUnreadable replaces the errors of net/http that may hold what the server sent.
var errUnreadable = errors.New("the connection ended without an answer that can be read")

// WithoutAnswer is the error of a request, without what the server sent: net/http repeats what it cannot read, and that
// may repeat the request. Errors of the network, of TLS and of the context are returned as they are.
func WithoutAnswer(err error) error {
	sent, wrapped := errors.AsType[*url.Error](err)
	cause := err
	if wrapped {
		cause = sent.Err
	}
	switch {
	case isOfConnection(cause):
		return err
	case wrapped:
		return &url.Error{Op: sent.Op, URL: sent.URL, Err: errUnreadable}
	default:
		return errUnreadable
	}
}

// isOfConnection reports whether an error comes from below HTTP, or from the context.
func isOfConnection(err error) bool {
	for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, context.Canceled, http.ErrSchemeMismatch} {
		if errors.Is(err, known) {
			return true
		}
	}
	_, network := errors.AsType[*net.OpError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	return network || certificate || record || isTimeout(err)
}

// Error is a refusal by the server. [errors.As] finds it in what a call returns.
type Error struct {
	HTTP       int           // the HTTP status
	Status     string        // its gRPC name, such as "INVALID_ARGUMENT"
	Reason     string        // what programs match on, one of the Reason constants; empty: it is not the API's refusal
	Message    string        // for people
	RetryAfter time.Duration // how long the server asks to wait before the next attempt; 0: it does not say

	body json.RawMessage // the answer, when it was the API's
}

// Error returns the message with the reason.
func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%s (HTTP %d)", e.Message, e.HTTP)
	}
	return fmt.Sprintf("%s (%s, HTTP %d)", e.Message, e.Reason, e.HTTP)
}

// SecretLostError says that the server answered [Client.Issue] with a key and without its secret: the request id was
// used before, by the caller or by a first attempt of the same call whose answer was lost. Only the answer that made
// the key held the secret.
type SecretLostError struct {
	Key IssuedAPIKey // the key that was made then
}

// Error says what to do.
func (e *SecretLostError) Error() string {
	return fmt.Sprintf("the request id was used before, so the answer holds no secret: unless the secret of key %s "+
		"was kept then, rotate the key, or revoke it and issue again with another request id", e.Key.KeyID)
}

// newError reads a refusal. Of a body that is not the API's, nothing is taken over: it may repeat what was sent.
func newError(resp *http.Response, body []byte) *Error {
	e := &Error{HTTP: resp.StatusCode}
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	var envelope ErrorResponse
	if json.Unmarshal(body, &envelope) == nil {
		e.Status, e.Message, e.body = envelope.Error.Status, envelope.Error.Message, body
		for _, d := range envelope.Error.Details {
			if d.Reason != "" {
				e.Reason = d.Reason
				break
			}
		}
	}
	if e.Message == "" {
		e.Message = "the server answered " + strconv.Itoa(e.HTTP)
		if text := http.StatusText(e.HTTP); text != "" {
			e.Message += " " + text
		}
	}
	return e
}
