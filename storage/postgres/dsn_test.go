package postgres

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

func TestDSN_WhatIsRefusedIsSaidWithoutThePassword(t *testing.T) {
	t.Parallel()
	const secret = "correct-horse"
	for _, tt := range []struct{ dsn, want string }{
		{"talos:" + secret + "@db.example.com/talos", "say with sslmode how it is reached"},
		{"talos:" + secret + "@127.0.0.1,db.example.com/talos", "db.example.com is another host"},
		{"talos:" + secret + "@/talos?host=db.example.com", "db.example.com is another host"},
		{"talos:" + secret + "@localhost/talos?replica=db.example.com", "replica: db.example.com is another host"},
		{"talos:" + secret + "@localhost/talos?listen=db.example.com", "listen: db.example.com is another host"},
		{"talos:" + secret + "@localhost/talos?listen=a&listen=b", "the option listen twice"},
		{"talos:" + secret + "@localhost/talos?sslmode=perhaps", "sslmode is invalid"},
		{"talos:" + secret + "@localhost/talos?pool_max_conns=many", "pool_max_conns"},
		{"talos:" + secret + "@localhost/talos?sslmode=verify-full&sslrootcert=%2Fno%2Fsuch%2Ffile", "/no/such/file"},
		{"talos:" + secret + "%@localhost/talos", "write characters of a password that have a meaning in URLs as %XX"},
		{"talos:" + secret + "/x@localhost:70000/talos", "the DSN is not a URL"},
		{"talos@localhost/talos?password=" + secret + "&pool_max_conns=0", "pool_max_conns"},
		{"talos@localhost/talos?replica=" + url.QueryEscape("postgres://u:"+secret+"@h/d"), "h is another host"},
		{"talos@localhost/talos?replica=" + url.QueryEscape("postgres://u:"+secret+"@h:x/d"), "replica"},
	} {
		_, err := Canonical(tt.dsn)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: the error is %v, want %q", tt.dsn, err, tt.want)
		}
		_, opening := Open(t.Context(), tt.dsn, Options{})
		wantReason(t, opening, core.BadRequest)
		for _, text := range []string{fmt.Sprint(err), fmt.Sprint(opening), Display(tt.dsn)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the password is in %q", tt.dsn, text)
			}
		}
	}
}

// A session of such a proxy that has said LISTEN goes on to others, and the proxy logs each notification that it gets.
func TestDSN_BehindAProxyThatPoolsTransactionsNobodyListensThere(t *testing.T) {
	t.Parallel()
	for options, deaf := range map[string]bool{
		"": false, "?default_query_exec_mode=exec": true, "?default_query_exec_mode=simple_protocol": true,
		"?default_query_exec_mode=cache_describe": false, "?listen=localhost:5433&default_query_exec_mode=exec": false,
	} {
		target, err := parseDSN("talos@localhost/talos" + options)
		must(t, err)
		if target.deaf != deaf {
			t.Errorf("%q: nobody listens: %t", options, target.deaf)
		}
	}
}

func TestDSN_TheServersOwnErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	server := pgtest.StartWith(t, pgtest.Options{Settings: []string{"fsync = off"}, Password: "right"})
	u, err := url.Parse(server.DSN("postgres"))
	must(t, err)
	u.User = url.UserPassword("postgres", "correct-horse")
	_, err = Open(t.Context(), location(u.String()), Options{})
	wantReason(t, err, core.Unavailable)
	if text := fmt.Sprint(err); strings.Contains(text, "correct-horse") ||
		!strings.Contains(text, "the database refuses the user or the password") {
		t.Errorf("the error is %s", text)
	}
	openAt(t, server.DSN("postgres"), Options{})
}

func TestDSN_OfAServerOnThisHostNeedsNoSSLMode(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"talos@localhost/talos", "talos@127.0.0.1:5433/talos", "talos@[::1]/talos",
		"talos@/talos?host=%2Fvar%2Frun%2Fpostgresql", "talos@127.0.0.1:5433,localhost:5434/talos",
	} {
		if _, err := Canonical(dsn); err != nil {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}

func TestDSN_TwoSpellingsAreOneDatabase(t *testing.T) {
	t.Parallel()
	want, err := Canonical("talos:a%20b@localhost/talos?application_name=x&sslmode=disable")
	must(t, err)
	for _, dsn := range []string{
		"talos:a%20b@localhost/talos?sslmode=disable&application_name=x",
		"talos:%61%20b@localhost/talos?sslmode=%64isable&application_name=x",
	} {
		if got, err := Canonical(dsn); err != nil || got != want {
			t.Errorf("%s is %s (%v), not %s", dsn, got, err, want)
		}
	}
	if again, err := Canonical(want); err != nil || again != want {
		t.Errorf("%s is not the spelling of itself: %s, %v", want, again, err)
	}
	for _, dsn := range []string{
		"talos:a%20b@localhost/other?application_name=x&sslmode=disable",
		"talos:a%20b@localhost:5433/talos?application_name=x&sslmode=disable",
		"talos:a%20b@localhost/talos?application_name=x&sslmode=disable&replica=localhost:5433",
	} {
		if got, err := Canonical(dsn); err != nil || got == want {
			t.Errorf("%s is taken for another database: %v", dsn, err)
		}
	}
}

func TestDSN_IsDisplayedByHostsAndName(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"u:pw@localhost/talos":              "the PostgreSQL database talos at localhost:5432",
		"u:pw@a:1,b:2/talos?sslmode=prefer": "the PostgreSQL database talos at a:1, b:2",
		"u:pw@a:1,b/talos?sslmode=prefer":   "the PostgreSQL database talos at a:1, b:5432",
		"u:pw@a,b:2/talos?sslmode=prefer":   "the PostgreSQL database talos at a:5432, b:2",
		"u:pw@db.example.com/talos":         "a PostgreSQL database",
	} {
		if got := Display(dsn); got != want {
			t.Errorf("%s is displayed as %q, want %q", dsn, got, want)
		}
	}
}

func TestDSN_OptionsOfTheServerAndOfThePoolCount(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s := openAt(t, dsn+"&statement_timeout=1234&pool_max_conns=3&application_name=node-7", Options{})
	must(t, s.Ping(t.Context()))
	if n := s.pool.Config().MaxConns; n != 3 {
		t.Errorf("the pool has up to %d connections", n)
	}
	for _, c := range []*pgx.ConnConfig{s.pool.Config().ConnConfig, s.writing, s.watcher.config} {
		if p := c.RuntimeParams; p["statement_timeout"] != "1234" || p["application_name"] != "node-7" {
			t.Errorf("a connection has the parameters %v", p)
		}
	}
	if got := queryText(t, dsn, "SELECT count(DISTINCT pid)::text FROM pg_stat_activity "+
		"WHERE datname = current_database() AND application_name = 'node-7'"); got < "3" {
		t.Errorf("%s connections have the name, want those that write, watch and read", got)
	}
	_, err := Open(t.Context(), location(pgtest.Database(t)+"&no_such_parameter=1"), Options{})
	if err == nil || !strings.Contains(err.Error(), "no_such_parameter") {
		t.Errorf("an unknown parameter: %v", err)
	}
}

func TestDSN_AStatementTimeoutEndsALookUpAndNoMigration(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s := openAt(t, dsn+"&statement_timeout=50", Options{})
	create(t, s, "k")
	unlock := hold(t, dsn, "LOCK TABLE keys IN ACCESS EXCLUSIVE MODE")
	_, err := s.Get(t.Context(), core.NetworkID{}, "k")
	wantReason(t, err, core.Unavailable)
	if !strings.Contains(fmt.Sprint(err), "the database took longer than its statement_timeout") {
		t.Errorf("the error is %v", err)
	}
	unlock()
	must(t, s.Ping(t.Context()))

	other := pgtest.Database(t)
	unlock = hold(t, other, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", migrationLock))
	opened := make(chan error)
	go func() {
		s, err := Open(context.Background(), location(other+"&statement_timeout=50"), Options{})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	eventually(t, "it waits for longer than the timeout", func() bool {
		return queryText(t, other, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() "+
			"AND wait_event = 'advisory' AND clock_timestamp() - query_start > interval '200 ms'") == "1"
	})
	unlock()
	must(t, <-opened)
}

func TestDSN_TLSWithClientCertificates(t *testing.T) {
	t.Parallel()
	server := pgtest.StartWith(t, pgtest.Options{
		Settings: []string{"fsync = off"}, TLS: true, ClientCertificates: true,
	})
	dsn := server.Database(t)
	s := openAt(t, dsn, Options{})
	create(t, s, "k")
	if got := queryText(t, dsn, "SELECT count(*)::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "+
		"WHERE datname = current_database() AND NOT ssl"); got != "0" {
		t.Errorf("%s connections are in clear text", got)
	}
	u, err := url.Parse(dsn)
	must(t, err)
	query := u.Query()
	query.Del("sslcert")
	query.Del("sslkey")
	u.RawQuery = query.Encode()
	_, err = Open(t.Context(), location(u.String()), Options{})
	wantReason(t, err, core.Unavailable)
}
