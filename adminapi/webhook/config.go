package webhook

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// Config are the settings of a [Sender]. URL, Secret and Store are required.
type Config struct {
	// URL is where deliveries go: https, or http to this machine alone. It holds no user and no password. Its path and
	// query may be secret: they are not logged.
	URL string

	// Secret signs the deliveries: `whsec_` and the base64 form of 24 to 64 bytes.
	Secret string

	// Types are the types of event that are delivered, of [Types]. Empty: all.
	Types []string

	// AllowPrivate lets deliveries go to addresses of private networks and of this machine. Without it, they go to this
	// machine only if the URL names it: by `localhost` or a loopback address.
	AllowPrivate bool

	// Networks are those whose changes are delivered. Empty: the one of a node that has only one.
	Networks []core.NetworkID

	Store  core.Store
	Logger *zap.Logger // nil: nothing is logged

	// Observe gets how n attempts ended. It may be called from several goroutines. nil: it is not called.
	Observe func(result Result, n int)

	// TLS are the settings of connections. nil: the authorities of the system.
	TLS *tls.Config
	// Resolver looks host names up. nil: that of the system.
	Resolver *net.Resolver
	// Dial connects to a host and a port, of which it judges nothing. nil: the network, by addresses that are allowed.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// maxURLLength is the length of the longest URL, in bytes.
const maxURLLength = 2048

// Types are the types of event that a webhook may select, in alphabetical order.
func Types() []string {
	all := append(engine.EventTypes(), TypeExpiring)
	slices.Sort(all)
	return all
}

// Validate checks what can be checked without a store or a network. Errors do not repeat the secret.
func (c *Config) Validate() error {
	if _, err := c.target(); err != nil {
		return err
	}
	if _, err := parseSecret(c.Secret); err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	for i, name := range c.Types {
		switch {
		case !slices.Contains(Types(), name):
			return fmt.Errorf("types: %.50q is none of %s", name, strings.Join(Types(), ", "))
		case slices.Contains(c.Types[:i], name):
			return fmt.Errorf("types: %s is given twice", name)
		}
	}
	return nil
}

// target parses the URL. Errors do not repeat it.
func (c *Config) target() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil, u.Hostname() == "", u.Scheme != "https" && u.Scheme != "http", len(c.URL) > maxURLLength:
		return nil, errors.New("must be a URL such as https://hooks.example.com/talos, of at most 2048 bytes")
	case !validPort(u.Port()):
		return nil, errors.New("the URL's port must be a number from 1 to 65535, or be left out")
	case u.User != nil:
		return nil, errors.New("the URL holds a user or a password: deliveries are signed, so leave it out")
	case u.Fragment != "":
		return nil, errors.New("the URL has a fragment, which no server gets: leave out everything from # on")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("http:// to %s is not encrypted, and is for this machine only: use https://", u.Host)
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && !isLoopback(u.Hostname()) {
		if err := checkAddress(addr, c.AllowPrivate); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// validPort reports whether a URL's port can be connected to. An empty one is that of the scheme.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// isLoopback reports whether a host names this machine by itself.
func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// Reader is the name under which the database has the position of the webhook. Two webhooks of one name cannot be
// delivered to at once. It is empty if the URL is not valid.
func (c *Config) Reader() string {
	u, err := c.target()
	if err != nil {
		return ""
	}
	return readerName(u)
}

// readerName is the sender's name in the database. It does not reveal the URL beyond its host.
func readerName(u *url.URL) string {
	sum := sha256.Sum256([]byte(u.String()))
	return "webhook " + u.Host + " " + hex.EncodeToString(sum[:8])
}
