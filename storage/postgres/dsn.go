package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options of a DSN that are ours. All others are those of pgx and PostgreSQL.
const (
	replicaOption = "replica"
	listenOption  = "listen"
)

// target is what a DSN names.
type target struct {
	pool     *pgxpool.Config
	replicas []*pgxpool.Config
	listen   *pgx.ConnConfig // where LISTEN works
	deaf     bool            // LISTEN works nowhere: this is a proxy that pools transactions
}

// Canonical returns the one spelling of a DSN without its scheme, by which stores can be shared, and checks it. It
// reads the files that the DSN names, and connects to nothing.
func Canonical(location string) (string, error) {
	if _, err := parseDSN(location); err != nil {
		return "", err
	}
	u, err := parseURL(location)
	if err != nil {
		return "", err
	}
	u.RawQuery = u.Query().Encode() // sorted
	return strings.TrimPrefix(u.String(), "postgres://"), nil
}

// Display names a database for people: by its hosts and its name, without user and password.
func Display(location string) string {
	t, err := parseDSN(location)
	if err != nil {
		return "a PostgreSQL database" // and opening it says what is wrong with the DSN
	}
	c := t.pool.ConnConfig
	hosts := []string{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))}
	for _, f := range c.Fallbacks {
		if host := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port))); hosts[len(hosts)-1] != host {
			hosts = append(hosts, host)
		}
	}
	return "the PostgreSQL database " + c.Database + " at " + strings.Join(hosts, ", ")
}

// parseDSN reads a DSN without its scheme. Its errors hold no password.
func parseDSN(location string) (*target, error) {
	u, err := parseURL(location)
	if err != nil {
		return nil, err
	}
	query := u.Query()
	replicas, listen := query[replicaOption], query[listenOption]
	query.Del(replicaOption)
	query.Del(listenOption)
	if len(listen) > 1 {
		return nil, fmt.Errorf("the DSN has the option %s twice", listenOption)
	}
	u.RawQuery = query.Encode()
	t := &target{}
	if t.pool, err = poolConfig(u.String()); err != nil {
		return nil, err
	}
	for _, replica := range replicas {
		config, err := poolConfig(onHost(u, replica, "target_session_attrs")) // a standby
		if err != nil {
			return nil, fmt.Errorf("%s: %w", replicaOption, err)
		}
		t.replicas = append(t.replicas, config)
	}
	t.listen = t.pool.ConnConfig
	// These modes are of whoever has no session of his own.
	if mode := t.listen.DefaultQueryExecMode; mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol {
		t.deaf = len(listen) == 0
	}
	if len(listen) == 1 {
		config, err := poolConfig(onHost(u, listen[0]))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", listenOption, err)
		}
		t.listen = config.ConnConfig
	}
	return t, nil
}

// parseURL parses a DSN without its scheme. Of several hosts, each one without a port gets PostgreSQL's: a URL with a
// port that is not the last host's is taken for none.
func parseURL(location string) (*url.URL, error) {
	authority, rest := location, ""
	if end := strings.IndexAny(location, "/?#"); end >= 0 {
		authority, rest = location[:end], location[end:]
	}
	user, hosts := "", authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, hosts = authority[:at+1], authority[at+1:]
	}
	if all := strings.Split(hosts, ","); len(all) > 1 {
		for i, host := range all {
			if !strings.Contains(host, ":") {
				all[i] += ":5432"
			}
		}
		hosts = strings.Join(all, ",")
	}
	u, err := url.Parse("postgres://" + user + hosts + rest)
	if err != nil {
		return nil, errors.New("the DSN is not a URL: write characters of a password that have a meaning in URLs as " +
			"%XX")
	}
	return u, nil
}

// onHost is the DSN of another server: one that is whole, or the first one's with another host, which may have a port,
// and without the options in without.
func onHost(u *url.URL, other string, without ...string) string {
	if strings.Contains(other, "://") {
		return other
	}
	o, query := *u, u.Query()
	for _, option := range append(without, "host", "hostaddr", "port") {
		query.Del(option)
	}
	o.Host, o.RawQuery = other, query.Encode()
	return o.String()
}

func poolConfig(dsn string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err // without the password
	}
	if !isRuntimeParam(config, "application_name") {
		config.ConnConfig.RuntimeParams["application_name"] = "talos"
	}
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		withoutCancel(c)
		return nil
	}
	return config, checkTransport(dsn, config.ConnConfig)
}

func isRuntimeParam(config *pgxpool.Config, name string) bool {
	_, ok := config.ConnConfig.RuntimeParams[name]
	return ok
}

// checkTransport refuses a server beyond this host for which nobody has said how it is spoken to: the driver's default
// would go on in clear text with whoever does not offer TLS.
func checkTransport(dsn string, c *pgx.ConnConfig) error {
	u, err := url.Parse(dsn)
	if err != nil || u.Query().Has("sslmode") {
		return nil //nolint:nilerr // the driver has parsed it
	}
	hosts := []*pgx.ConnConfig{c}
	for _, f := range c.Fallbacks {
		other := *c
		other.Host = f.Host
		hosts = append(hosts, &other)
	}
	for _, h := range hosts {
		if !isLocal(h.Host) {
			return fmt.Errorf("%s is another host: say with sslmode how it is reached; verify-full checks its "+
				"certificate, disable sends keys' data in clear text", h.Host)
		}
	}
	return nil
}

// isLocal reports whether a host is this one: the folder of a socket, localhost or a loopback address.
func isLocal(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
