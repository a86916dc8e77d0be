package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

func TestAnErrorOfTheConnectionIsToldAsItIs(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED},
		&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}},
		fmt.Errorf("transport connection broken: %w", io.ErrUnexpectedEOF),
		io.EOF,
		context.Canceled,
		context.DeadlineExceeded,
		http.ErrSchemeMismatch,
		&tls.CertificateVerificationError{Err: errors.New("unknown authority")},
		tls.RecordHeaderError{Msg: "no TLS"},
	} {
		err := error(&url.Error{Op: "Get", URL: "http://h", Err: cause})
		if got := client.WithoutAnswer(err).Error(); got != err.Error() {
			t.Errorf("%v: got %s", err, got)
		}
		if got := client.WithoutAnswer(cause).Error(); got != cause.Error() {
			t.Errorf("%v: got %s", cause, got)
		}
	}
}

func TestAnErrorOfTheAnswerIsToldWithoutItsText(t *testing.T) {
	t.Parallel()
	cause := fmt.Errorf("transport connection broken: %w", errors.New(`malformed HTTP response "secret"`))
	if got := client.WithoutAnswer(cause).Error(); strings.Contains(got, "secret") {
		t.Errorf("got %s", got)
	}
	got := client.WithoutAnswer(&url.Error{Op: "Get", URL: "http://h/path", Err: cause}).Error()
	if strings.Contains(got, "secret") {
		t.Errorf("got %s", got)
	}
	if !strings.HasPrefix(got, `Get "http://h/path": `) {
		t.Errorf("the call is not named: %s", got)
	}
}
