package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// connectTimeout bounds how long it takes to connect, with TLS and all else that comes before the first call.
const connectTimeout = 2 * time.Second

// newClient makes a client that connects when it is used. Its dials end with ctx.
func (t *target) newClient(ctx context.Context) redis.UniversalClient {
	// The library has one logger for the process, which writes each failed dial to the standard error. This package
	// reports what fails itself.
	logging.Disable()
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: t.addresses, IsClusterMode: t.scheme == schemeCluster, MasterName: t.master,
		Username: t.user, Password: t.password, DB: t.db,
		SentinelUsername: t.sentinelUser, SentinelPassword: t.sentinelPassword,

		Dialer:        t.dialer(ctx),
		DialTimeout:   connectTimeout,
		DialerRetries: 1,
		ReadTimeout:   connectTimeout, // calls have deadlines of their own

		// A call that lost its connection is made again at once. It may count a use twice, and none too few.
		MaxRetries: 1, MinRetryBackoff: -1, MaxRetryBackoff: -1,

		ContextTimeoutEnabled: true,
		PipelinePoolSize:      -1, // there are no calls beside the pipelines
		Protocol:              2,
		DisableIdentity:       true,
	})
}

// dialer returns the function that opens connections, which reads the files of TLS each time.
func (t *target) dialer(ctx context.Context) func(context.Context, string, string) (net.Conn, error) {
	return func(call context.Context, network, address string) (net.Conn, error) {
		call, cancel := context.WithCancel(call)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		dialer := &net.Dialer{Timeout: connectTimeout}
		if !t.tls {
			return dialer.DialContext(call, network, address)
		}
		settings, err := t.tlsSettings()
		if err != nil {
			return nil, err
		}
		return (&tls.Dialer{NetDialer: dialer, Config: settings}).DialContext(call, network, address)
	}
}

// tlsSettings makes the settings of a TLS connection. It reads the files.
func (t *target) tlsSettings() (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.serverName}
	if t.caFile != "" {
		authorities, err := os.ReadFile(t.caFile)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("tls_ca: %s holds no certificate in PEM form", t.caFile)
		}
	}
	if t.certFile != "" {
		pair, err := tls.LoadX509KeyPair(t.certFile, t.keyFile)
		if err != nil {
			return nil, fmt.Errorf("tls_cert: %w", err)
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	return settings, nil
}
