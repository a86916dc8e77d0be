package redis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// The bounds of the option timeout, and its default.
const (
	minTimeout     = time.Millisecond
	maxTimeout     = 10 * time.Second
	defaultTimeout = 20 * time.Millisecond
)

// The schemes of URLs.
const (
	schemePlain    = "redis"
	schemeTLS      = "rediss"
	schemeSentinel = "redis-sentinel"
	schemeCluster  = "redis-cluster"
)

// target says which Redis to use, and how to reach it.
type target struct {
	scheme         string
	addresses      []string // host:port: of the server, the sentinels, or some nodes of the cluster
	user, password string
	db             int
	master         string // the name by which sentinels know the server
	timeout        time.Duration

	sentinelUser, sentinelPassword string

	tls               bool
	caFile            string // "": the authorities of the system
	certFile, keyFile string
	serverName        string // "": the host that is dialed
}

// Check returns what is wrong with a URL, or nil. It reads no file and opens nothing. Its errors do not repeat the URL,
// which may hold a password. See [Open] for the forms of URLs.
func Check(url string) error {
	_, err := parse(url)
	return err
}

func parse(text string) (*target, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	if !slices.Contains([]string{schemePlain, schemeTLS, schemeSentinel, schemeCluster}, scheme) {
		return nil, errors.New("the URL must begin with redis://, rediss://, redis-sentinel:// or redis-cluster://")
	}
	t := &target{scheme: scheme, timeout: defaultTimeout, tls: scheme == schemeTLS}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if err := t.parseUser(authority[:at]); err != nil {
			return nil, err
		}
		authority = authority[at+1:]
	}
	if err := t.parseAddresses(authority); err != nil {
		return nil, err
	}
	if err := t.parsePath(path); err != nil {
		return nil, err
	}
	if err := t.parseQuery(query); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *target) parseUser(text string) (err error) {
	user, password, found := strings.Cut(text, ":")
	if !found {
		return errors.New("a user without a password: write user:password@, or :password@ for the default user")
	}
	if t.user, err = url.PathUnescape(user); err == nil {
		t.password, err = url.PathUnescape(password)
	}
	if err != nil {
		return errors.New("percent-encode special characters of user and password")
	}
	return nil
}

func (t *target) parseAddresses(text string) error {
	port := "6379"
	if t.scheme == schemeSentinel {
		port = "26379"
	}
	for address := range strings.SplitSeq(text, ",") {
		host, own, err := net.SplitHostPort(address)
		if err != nil { // it has no port, or none of this can be read
			host, own = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"), port
		}
		if n, err := strconv.ParseUint(own, 10, 16); err != nil || n == 0 || host == "" ||
			strings.ContainsAny(host, "[]@#% ") || strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return errors.New("an address must be host:port; percent-encode special characters of user and password")
		}
		t.addresses = append(t.addresses, net.JoinHostPort(host, own))
	}
	if len(t.addresses) > 1 && (t.scheme == schemePlain || t.scheme == schemeTLS) {
		return fmt.Errorf("%s:// takes one address; use redis-sentinel:// or redis-cluster:// for several", t.scheme)
	}
	return nil
}

func (t *target) parsePath(path string) error {
	switch t.scheme {
	case schemeSentinel:
		if path == "" || strings.Contains(path, "/") {
			return errors.New("the path must be the master's name: redis-sentinel://host/name")
		}
		t.master = path
	case schemeCluster:
		if path != "" {
			return errors.New("redis-cluster:// takes no path: a cluster has one database")
		}
	default:
		if path != "" {
			return t.parseDB(path)
		}
	}
	return nil
}

func (t *target) parseDB(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("the database must be a number")
	}
	t.db = int(n)
	return nil
}

func (t *target) parseQuery(text string) error {
	query, err := url.ParseQuery(text)
	if err != nil {
		return errors.New("the options behind ? cannot be read: percent-encode their special characters")
	}
	for name, values := range query {
		if len(values) != 1 || values[0] == "" {
			return fmt.Errorf("the option %s must be given once, with a value", optionName(name))
		}
		if err := t.parseOption(name, values[0]); err != nil {
			return err
		}
	}
	return t.checkTLS()
}

func (t *target) parseOption(name, value string) (err error) {
	sentinel := t.scheme == schemeSentinel
	switch {
	case name == "timeout":
		t.timeout, err = core.ParseDuration(value)
		if err != nil || t.timeout < minTimeout || t.timeout > maxTimeout {
			return fmt.Errorf("timeout: must be a duration from %s to %s", minTimeout, maxTimeout)
		}
	case name == "db" && sentinel:
		return t.parseDB(value)
	case name == "sentinel_user" && sentinel:
		t.sentinelUser = value
	case name == "sentinel_password" && sentinel:
		t.sentinelPassword = value
	case name == "tls" && (sentinel || t.scheme == schemeCluster):
		if t.tls = value == "on"; !t.tls {
			return errors.New("tls: must be on")
		}
	case name == "tls_ca":
		t.caFile = value
	case name == "tls_cert":
		t.certFile = value
	case name == "tls_key":
		t.keyFile = value
	case name == "tls_server_name":
		t.serverName = value
	default:
		return fmt.Errorf("%s:// has no option %s", t.scheme, optionName(name))
	}
	return nil
}

func (t *target) checkTLS() error {
	switch {
	case !t.tls && (t.caFile != "" || t.certFile != "" || t.keyFile != "" || t.serverName != ""):
		return errors.New("options of TLS without TLS: use rediss://, or tls=on with sentinels or a cluster")
	case (t.certFile == "") != (t.keyFile == ""):
		return errors.New("tls_cert and tls_key need each other")
	}
	return nil
}

// optionName is the name of an option for an error. What cannot be one is left out: it may be a part of a password.
func optionName(name string) string {
	if len(name) > 20 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "of that name"
	}
	return name
}
