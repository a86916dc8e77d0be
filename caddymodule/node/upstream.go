package node

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/upstream"
	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
)

// Upstream makes the node a sidecar: it has no storage, and asks a server that speaks the v2alpha1 API. That may be a
// node of this kind, or another implementation.
//
// Header and the client certificate are this node's own authority. The node sends them with its own calls: those for
// verifications, the records of keys, the public keys of tokens and reports of the last use of keys. The requests of
// `talos_admin`'s callers are forwarded with the callers' own headers and without them.
type Upstream struct {
	// Addresses of the one upstream: `https://host:port`, with a path before the API's own if there is one, or
	// `unix:///path`. One is used until it fails, then the next. Plain `http://` is for this machine and private
	// networks only.
	Addresses []string `json:"addresses,omitempty"`

	// Header is sent with this node's own calls, such as `Authorization`.
	Header http.Header `json:"header,omitempty"`

	// Timeout bounds a look-up: the wait for its turn and the call. At most `1m`. Default: `2s`.
	Timeout Duration `json:"timeout,omitempty"`

	// MaxInFlight is how many calls with look-ups are under way at once. Look-ups that come meanwhile wait and then go
	// together, up to a hundred at a time. Default: 2.
	MaxInFlight int `json:"max_in_flight,omitempty"`

	// MaxQueue is how many look-ups may wait; one more is refused at once. Default: 10000.
	MaxQueue int `json:"max_queue,omitempty"`

	// IPLists is `none` for an upstream that is not of this kind and on which no key has an IP list: it saves a read of
	// the record at each look-up. Default: empty, the records are read.
	IPLists string `json:"ip_lists,omitempty"`

	// TLSCA is a PEM file with the authorities that the upstream's certificate is checked against. Default: those of
	// the system.
	TLSCA string `json:"tls_ca,omitempty"`

	// TLSCert and TLSKey are PEM files of this node's client certificate. They are read at each handshake, so
	// they may be replaced. Default: none.
	TLSCert string `json:"tls_cert,omitempty"`
	TLSKey  string `json:"tls_key,omitempty"`

	// TLSServerName is the name that the upstream's certificate must be for, and the Host of look-ups. Default: the
	// address' host.
	TLSServerName string `json:"tls_server_name,omitempty"`
}

// noIPLists is the one value of [Upstream.IPLists].
const noIPLists = "none"

// Bounds of an [Upstream].
const (
	maxUpstreamTimeout = time.Minute
	maxUpstreamCalls   = 1000
	maxUpstreamQueue   = 1_000_000
	maxAddresses       = 64
)

// texts calls f with each text value.
func (u *Upstream) texts(f func(option string, field *string)) {
	for i := range u.Addresses {
		f("upstream", &u.Addresses[i])
	}
	for _, values := range u.Header {
		for i := range values {
			f("upstream: header", &values[i])
		}
	}
	f("upstream: tls_ca", &u.TLSCA)
	f("upstream: tls_cert", &u.TLSCert)
	f("upstream: tls_cert", &u.TLSKey)
	f("upstream: tls_server_name", &u.TLSServerName)
}

// literal is the upstream without every value that holds a placeholder.
func (u *Upstream) literal() *Upstream {
	if u == nil {
		return nil
	}
	l := *u
	l.Addresses, l.Header = directive.Literals(u.Addresses), http.Header{}
	for name, values := range u.Header {
		l.Header[name] = directive.Literals(values)
	}
	l.TLSServerName = directive.Literal(u.TLSServerName)
	return &l
}

// check refuses settings that cannot be an upstream's. It reads no file.
func (u *Upstream) check() error {
	switch {
	case len(u.Addresses) > maxAddresses:
		return fmt.Errorf("more than %d addresses", maxAddresses)
	case u.Timeout < 0 || time.Duration(u.Timeout) > maxUpstreamTimeout:
		return fmt.Errorf("timeout: must be more than 0 and at most %s", maxUpstreamTimeout)
	case u.MaxInFlight < 0 || u.MaxInFlight > maxUpstreamCalls:
		return fmt.Errorf("max_in_flight: must be 1 to %d", maxUpstreamCalls)
	case u.MaxQueue < 0 || u.MaxQueue > maxUpstreamQueue:
		return fmt.Errorf("max_queue: must be 1 to %d", maxUpstreamQueue)
	case u.IPLists != "" && u.IPLists != noIPLists:
		return fmt.Errorf("ip_lists: %q is not `none`", u.IPLists)
	case (u.TLSCert == "") != (u.TLSKey == ""):
		return errors.New("tls_cert: a certificate and its key are required")
	}
	for i, address := range u.Addresses {
		if err := checkAddress(address); err != nil {
			return err
		}
		if slices.Contains(u.Addresses[:i], address) {
			return fmt.Errorf("address %d repeats an earlier one", i+1)
		}
	}
	return nil
}

// checkAddress refuses an address that would send credentials in the clear, or that holds a secret: addresses are
// logged.
func checkAddress(address string) error {
	parsed, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("an address is not a URL such as https://talos.internal:4420")
	case parsed.User != nil:
		return errors.New("an address holds a user or a password; put it into a header")
	case parsed.Scheme == "http" && !isPrivate(parsed.Hostname()):
		return fmt.Errorf("plain http:// to %s would send credentials in the clear: it is for this machine and "+
			"private networks; use https://", parsed.Hostname())
	default:
		return nil
	}
}

// sharedRange is what carriers and private overlays use (RFC 6598).
var sharedRange = netip.MustParsePrefix("100.64.0.0/10")

// isPrivate reports whether a host is on this machine or in a private network, by its name alone: an address of such a
// range, a name without a dot, or one under a domain that is not delegated (RFC 6761, RFC 6762, RFC 8375, ICANN's
// `.internal`).
func isPrivate(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || sharedRange.Contains(addr)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host != "" && !strings.Contains(host, ".") {
		return true
	}
	return slices.ContainsFunc([]string{".localhost", ".internal", ".local", ".home.arpa"}, func(domain string) bool {
		return strings.HasSuffix(host, domain)
	})
}

// config is the configuration of the upstream's source, without its networks and the certificates.
func (u *Upstream) config() upstream.Config {
	header := http.Header{}
	for _, name := range slices.Sorted(maps.Keys(u.Header)) {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		header[canonical] = append(header[canonical], u.Header[name]...)
	}
	return upstream.Config{
		Addresses:   slices.Clone(u.Addresses),
		Header:      header,
		Host:        u.TLSServerName, // servers that ask for certificates require the two to agree
		Timeout:     time.Duration(u.Timeout),
		MaxInFlight: u.MaxInFlight,
		MaxQueue:    u.MaxQueue,
		NoIPLists:   u.IPLists == noIPLists,
	}
}

// tls makes the settings of connections, and returns what they depend on beside the configuration: the authorities, as
// the file has them. It reads the files.
func (u *Upstream) tls() (settings *tls.Config, authorities []byte, err error) {
	settings = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.TLSServerName}
	if u.TLSCA != "" {
		if authorities, err = os.ReadFile(u.TLSCA); err != nil {
			return nil, nil, fmt.Errorf("tls_ca: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, nil, fmt.Errorf("tls_ca: %s holds no certificate in PEM form", u.TLSCA)
		}
	}
	if u.TLSCert != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(u.TLSCert, u.TLSKey)
			if err != nil {
				return nil, fmt.Errorf("tls_cert: %w", err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, nil, err
		}
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return settings, authorities, nil
}

// fields are all settings, in a fixed order, for the pool key.
func (u *Upstream) fields() []string {
	fields := append([]string{
		time.Duration(u.Timeout).String(), strconv.Itoa(u.MaxInFlight), strconv.Itoa(u.MaxQueue), u.IPLists,
		u.TLSCA, u.TLSCert, u.TLSKey, u.TLSServerName, strconv.Itoa(len(u.Addresses)),
	}, u.Addresses...)
	for _, name := range slices.Sorted(maps.Keys(u.Header)) {
		values := u.Header[name]
		fields = append(append(fields, name, strconv.Itoa(len(values))), values...)
	}
	return fields
}
