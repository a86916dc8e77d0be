package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// defaultEndpoint is where `talos serve` listens.
const defaultEndpoint = "http://localhost:4420"

// client makes a client of the server that the flags or the environment name.
func (o *options) client() (*client.Client, error) { return o.clientWithin(o.timeout) }

// clientWithin makes a client whose calls take no longer than timeout.
func (o *options) clientWithin(timeout time.Duration) (*client.Client, error) {
	if timeout <= 0 {
		return nil, errors.New("--timeout: must be longer than 0")
	}
	address, err := o.address()
	if err != nil {
		return nil, err
	}
	return client.New(address, client.WithTimeout(timeout), client.WithOnlyJSON())
}

// address is the endpoint with a scheme: one that names only a host of this machine is http.
func (o *options) address() (string, error) {
	address := o.endpoint
	if address == "" {
		address = os.Getenv(envEndpoint)
	}
	if address == "" {
		address = defaultEndpoint
	}
	if strings.Contains(address, "://") {
		return address, nil
	}
	u, err := url.Parse("http://" + address)
	if err != nil || !isLoopback(u.Hostname()) {
		return "", errors.New("the endpoint has no scheme: write https:// or http:// before it")
	}
	return "http://" + address, nil
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// endpointName is the endpoint for people: without a password.
func (o *options) endpointName() string {
	address, err := o.address()
	if err != nil {
		return "the endpoint"
	}
	u, err := url.Parse(address)
	if err != nil {
		return "the endpoint"
	}
	return u.Redacted()
}

// action is what a command that calls the server does with its one argument.
type action func(cmd *cobra.Command, c *client.Client, arg string) error

// onKey runs f for a command whose argument is a key id.
func (o *options) onKey(f action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := checkKeyID(args[0]); err != nil {
			return err
		}
		return o.call(cmd, args[0], f)
	}
}

// onCredential runs f for a command whose argument is a credential, or - for the one on standard input.
func (o *options) onCredential(f action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		credential, err := readCredential(args[0], cmd.InOrStdin())
		if err != nil {
			return err
		}
		return o.call(cmd, credential, f)
	}
}

func (o *options) call(cmd *cobra.Command, arg string, f action) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(cmd, c, arg)
}

// recognise refuses an answer that is none of the API's: it must be an object that has at least one of the members
// which every answer to the call has. Without members any object will do.
func recognise(answer json.RawMessage, members ...string) error {
	var got map[string]json.RawMessage
	if json.Unmarshal(answer, &got) == nil && got != nil {
		for _, name := range members {
			if value, ok := got[name]; ok && string(value) != "null" {
				return nil
			}
		}
		if len(members) == 0 {
			return nil
		}
	}
	return client.ErrAnswer
}

// failed makes the error of a call fit for a terminal: safe characters, what to do, and no credential even if the
// server repeated one.
func (o *options) failed(err error, credentials ...string) error {
	text := err.Error()
	for _, c := range credentials {
		if c != "" {
			text = strings.ReplaceAll(text, c, "[credential]")
		}
	}
	text = printable(text)
	refused, isRefusal := errors.AsType[*client.Error](err)
	if isRefusal && !hasEnvelope(refused) {
		text = o.endpointName() + ": " + text
	}
	switch {
	case errors.Is(err, client.ErrAnswer):
		return fmt.Errorf("%s: the answer is not one of the v2alpha1 API; is it the right --endpoint?",
			o.endpointName())
	case isRefusal && isForeign(refused):
		return fmt.Errorf("%s: the answer is not one of the v2alpha1 API (HTTP %d); is it the right --endpoint?",
			o.endpointName(), refused.HTTP)
	case isRefusal && refused.RetryAfter > 0:
		text += fmt.Sprintf("; try again in %s", refused.RetryAfter)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer within %s; --timeout allows more", o.endpointName(), o.timeout)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		text += "; start a server with `talos serve`, or name another with --endpoint or TALOS_URL"
	}
	return errors.New(text)
}

// isForeign reports whether a refusal shows that the server is another. Some refusals without the API's envelope are
// those of a proxy before the server.
func isForeign(e *client.Error) bool {
	switch e.HTTP {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout:
		return false
	default:
		return !hasEnvelope(e)
	}
}

// hasEnvelope reports whether a refusal is written as the API writes it.
func hasEnvelope(e *client.Error) bool { return e.Status != "" || e.Reason != "" }
