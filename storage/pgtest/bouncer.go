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

	"github.com/jackc/pgx/v5"

	"github.com/talos-edge/talos-edge/storage/internal/testport"
)

// Bouncer is a PgBouncer in front of all databases of one server.
type Bouncer struct {
	server  *Server
	folder  string
	port    string
	process *process
}

// PgBouncer starts a PgBouncer in front of a server, which may be stopped and restarted meanwhile. poolMode is session,
// transaction or statement; settings are more lines of pgbouncer.ini, such as "default_pool_size = 2". It trusts every
// client. PgBouncer skips the test without TALOS_TEST_PGBOUNCER.
func PgBouncer(tb testing.TB, s *Server, poolMode string, settings ...string) *Bouncer {
	tb.Helper()
	name := need(tb, bouncerEnv)
	ctx, cancel := bounded(tb.Context())
	defer cancel()
	folder, err := newFolder()
	if err != nil {
		tb.Fatal(err)
	}
	b := &Bouncer{server: s, folder: folder}
	err = testport.Try(func(port string) error {
		b.port = port
		return b.launch(ctx, name, append([]string{"pool_mode = " + poolMode}, settings...))
	})
	if err != nil {
		tb.Fatal(errors.Join(err, os.RemoveAll(folder)))
	}
	tb.Cleanup(func() {
		ctx, cancel := bounded(tb.Context())
		defer cancel()
		select {
		case <-b.process.exited:
			tb.Error(b.process.failure(fmt.Errorf("ended during the test: %w", b.process.err)))
		default:
		}
		if err := errors.Join(b.process.signal(ctx, syscall.SIGTERM), os.RemoveAll(folder)); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// launch starts PgBouncer and waits until a query passes through it.
func (b *Bouncer) launch(ctx context.Context, name string, settings []string) error {
	users, config := filepath.Join(b.folder, "users"), filepath.Join(b.folder, "pgbouncer.ini")
	if err := writeFile(users, fmt.Sprintf("%q \"\"\n", superuser)); err != nil {
		return err
	}
	lines := append([]string{
		"[databases]", fmt.Sprintf("* = host=%s port=%s", b.server.folder, b.server.port),
		"[pgbouncer]", "listen_addr = " + loopback, "listen_port = " + b.port, "unix_socket_dir =",
		"auth_type = trust", "auth_file = " + users,
	}, settings...)
	if err := writeFile(config, strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	p, err := start(ctx, b.folder, syscall.SIGTERM, name, config)
	if err != nil {
		return err
	}
	b.process = p
	err = p.ready(ctx, func(ctx context.Context) error {
		if !strings.Contains(p.log.String(), "listening on "+b.addr()) {
			return errors.New("it does not listen yet") // and the port may be that of another program
		}
		conn, err := pgx.Connect(ctx, b.DSN(superuser))
		if err != nil {
			return err
		}
		return errors.Join(conn.Ping(ctx), conn.Close(ctx))
	})
	if err != nil {
		return errors.Join(err, p.signal(ctx, syscall.SIGTERM))
	}
	return nil
}

// DSN is the URL of one of the server's databases through PgBouncer, for the user postgres.
func (b *Bouncer) DSN(database string) string {
	return dsn(url.User(superuser), b.addr(), database, url.Values{"sslmode": {"disable"}})
}

func (b *Bouncer) addr() string { return net.JoinHostPort(loopback, b.port) }
