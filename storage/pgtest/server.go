package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/talos-edge/talos-edge/storage/internal/testport"
)

const (
	binariesEnv = "TALOS_TEST_POSTGRES"
	bouncerEnv  = "TALOS_TEST_PGBOUNCER"

	superuser = "postgres"
	loopback  = "127.0.0.1"
)

// Options are those of a server. The zero value is a server that trusts every client.
type Options struct {
	// Settings are lines of postgresql.conf, such as "fsync = off". The last one of a name counts.
	Settings []string
	// Password is that of the user postgres. If it is not empty, clients must give it (SCRAM-SHA-256).
	Password string
	// TLS refuses connections without TLS. The server's certificate is for localhost and 127.0.0.1, for a day.
	TLS bool
	// ClientCertificates refuses clients without a certificate for the user they connect as. It needs TLS.
	ClientCertificates bool
}

// Server is a PostgreSQL server of a test. The methods that stop, start or promote it are for one goroutine at a time;
// all others are safe for concurrent use.
type Server struct {
	name    string // of its folder
	folder  string // its sockets and certificates, and the folder data
	port    string
	options Options
	tls     *authority // nil without TLS
	primary *Server    // nil if it was not made as a standby
	process *process   // the last one; it may have ended
}

// Start starts a server whose settings are lines of postgresql.conf, such as "fsync = off". It skips the test without
// TALOS_TEST_POSTGRES.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	return StartWith(tb, Options{Settings: settings})
}

// StartWith is [Start] with more options.
func StartWith(tb testing.TB, o Options) *Server {
	tb.Helper()
	need(tb, binariesEnv)
	ctx, cancel := bounded(tb.Context())
	defer cancel()
	s, err := startServer(ctx, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

func startServer(ctx context.Context, o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	if err := s.initialize(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.folder))
	}
	if err := s.launchFirst(ctx); err != nil {
		return nil, err
	}
	if o.Password == "" {
		return s, nil
	}
	if _, err := s.query(ctx, "ALTER ROLE "+superuser+" PASSWORD $1", o.Password); err != nil {
		return nil, errors.Join(err, s.end(ctx))
	}
	return s, nil
}

// newServer makes the folder of a server.
func newServer(o Options) (*Server, error) {
	folder, err := newFolder()
	return &Server{name: filepath.Base(folder), folder: folder, options: o}, err
}

// newFolder makes a folder for a program that is started by this package.
func newFolder() (string, error) {
	folder, err := os.MkdirTemp("", "pgtest-")
	if err != nil {
		return "", err
	}
	return folder, giveAway(folder)
}

// initialize makes a cluster, as a copy of one.
func (s *Server) initialize(ctx context.Context) error {
	cluster, err := emptyCluster()
	if err != nil {
		return err
	}
	if err := run(ctx, s.folder, "cp", "-a", cluster, s.data()); err != nil {
		return err
	}
	settings := s.options.Settings
	if s.options.TLS {
		if s.tls, err = newAuthority(s.folder); err != nil {
			return err
		}
		settings = append(s.tls.settings(), settings...)
	}
	if err := s.configure(settings); err != nil {
		return err
	}
	return writeFile(filepath.Join(s.data(), "pg_hba.conf"), s.options.clients())
}

// clients is the file pg_hba.conf.
func (o Options) clients() string {
	kind, method := "host", "trust"
	if o.Password != "" {
		method = "scram-sha-256"
	}
	if o.TLS {
		kind = "hostssl"
	}
	if o.ClientCertificates {
		method += " clientcert=verify-full"
	}
	return fmt.Sprintf("local all,replication all trust\n%s all,replication all %s/32 %s\n", kind, loopback, method)
}

// configure adds settings to postgresql.conf.
func (s *Server) configure(settings []string) error {
	name := filepath.Join(s.data(), "postgresql.conf")
	before, err := os.ReadFile(name) //nolint:gosec // a folder of this package
	if err != nil {
		return err
	}
	return writeFile(name, string(before)+"\n"+strings.Join(settings, "\n")+"\n")
}

// launchFirst starts the server on a port that it keeps, and removes its folder if that fails.
func (s *Server) launchFirst(ctx context.Context) error {
	err := testport.Try(func(port string) error {
		s.port = port
		return s.launch(ctx)
	})
	if err != nil {
		return errors.Join(err, os.RemoveAll(s.folder))
	}
	return nil
}

// launch starts the server and waits until it answers.
func (s *Server) launch(ctx context.Context) error {
	p, err := start(ctx, s.folder, syscall.SIGQUIT, binary("postgres"),
		"-D", s.data(), "-p", s.port, "-k", s.folder, "-h", loopback)
	if err != nil {
		return err
	}
	s.process = p
	err = p.ready(ctx, func(ctx context.Context) error {
		_, err := s.query(ctx, "SELECT 1")
		return err
	})
	if err != nil {
		return errors.Join(err, p.signal(ctx, syscall.SIGQUIT))
	}
	return nil
}

// remove stops the server and removes its folder.
func (s *Server) remove(tb testing.TB) {
	tb.Helper()
	ctx, cancel := bounded(tb.Context())
	defer cancel()
	if err := s.end(ctx); err != nil {
		tb.Error(err)
	}
}

func (s *Server) end(ctx context.Context) error {
	return errors.Join(s.process.signal(ctx, syscall.SIGQUIT), os.RemoveAll(s.folder))
}

// Addr is the server's address, as 127.0.0.1:15432.
func (s *Server) Addr() string { return net.JoinHostPort(loopback, s.port) }

// DSN is the URL of one of the server's databases, for the user postgres. With TLS it has sslmode=verify-full and the
// paths of the certificates.
func (s *Server) DSN(database string) string {
	account := url.User(superuser)
	if s.options.Password != "" {
		account = url.UserPassword(superuser, s.options.Password)
	}
	parameters := url.Values{"sslmode": {"disable"}}
	if s.tls != nil {
		parameters = s.tls.parameters(s.options.ClientCertificates)
	}
	return dsn(account, s.Addr(), database, parameters)
}

func dsn(account *url.Userinfo, addr, database string, parameters url.Values) string {
	u := url.URL{Scheme: "postgres", User: account, Host: addr, Path: "/" + database, RawQuery: parameters.Encode()}
	return u.String()
}

// Exec runs a statement as the superuser in the database postgres.
func (s *Server) Exec(tb testing.TB, statement string, args ...any) {
	tb.Helper()
	s.Text(tb, statement, args...)
}

// Text runs a statement as the superuser in the database postgres, and returns the first column of its first row as
// text. It is empty if there is none or if it is NULL.
func (s *Server) Text(tb testing.TB, statement string, args ...any) string {
	tb.Helper()
	ctx, cancel := bounded(tb.Context())
	defer cancel()
	text, err := s.query(ctx, statement, args...)
	if err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
	return text
}

// await waits until a query's answer is want.
func (s *Server) await(tb testing.TB, want, statement string, args ...any) {
	tb.Helper()
	ctx, cancel := bounded(tb.Context())
	defer cancel()
	err := poll(ctx, func(ctx context.Context) error {
		got, err := s.query(ctx, statement, args...)
		if err == nil && got != want {
			err = fmt.Errorf("it is %q, not %q", got, want)
		}
		return err
	})
	if err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

func (s *Server) query(ctx context.Context, statement string, args ...any) (text string, err error) {
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%s user=%s database=postgres sslmode=disable",
		s.folder, s.port, superuser))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	rows, err := conn.Query(ctx, statement, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	if rows.Next() && len(rows.RawValues()) > 0 {
		text = string(rows.RawValues()[0]) // the simple protocol sends text
	}
	rows.Close()
	return text, rows.Err()
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// binary is the path of a program of PostgreSQL.
func binary(name string) string { return filepath.Join(os.Getenv(binariesEnv), name) }

// need skips a test if a variable is not set.
func need(tb testing.TB, variable string) string {
	tb.Helper()
	value := os.Getenv(variable)
	if value == "" {
		tb.Skipf("%s is not set", variable)
	}
	return value
}

// bounded gives a function of this package its two minutes, also when the test is ending.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
}

// writeFile writes a file for a program that is started by this package.
func writeFile(name, text string) error {
	//nolint:gosec // in a folder of this package
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return err
	}
	return giveAway(name)
}
