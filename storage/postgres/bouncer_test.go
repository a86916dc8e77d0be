package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/pgtest"
	"github.com/talos-edge/talos-edge/storage/storagetest"
)

// execMode is the option without which prepared statements would be looked for on other sessions.
const execMode = "&default_query_exec_mode=exec"

// TestStore_BehindPgBouncer runs the suite behind a proxy that pools transactions. Half of the stores listen at the
// server itself, the others have to poll.
func TestStore_BehindPgBouncer(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	bouncer := pgtest.PgBouncer(t, server, "transaction", "default_pool_size = 4", "max_client_conn = 2000")
	var opened atomic.Int64
	storagetest.Run(t, func(t *testing.T) storagetest.Opener {
		t.Helper()
		direct := pgtest.Database(t)
		dsn := bouncer.DSN(pgtest.Name(t, direct)) + execMode
		if opened.Add(1)%2 == 0 {
			dsn += "&listen=" + server.Addr()
		}
		return opener(dsn)
	})
}

func TestPgBouncer_WithoutTheOptionTheErrorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	bouncer := pgtest.PgBouncer(t, pgtest.Shared(t), "transaction", "default_pool_size = 2")
	dsn := bouncer.DSN(pgtest.Name(t, pgtest.Database(t)))
	var err error
	eventually(t, "it fails", func() bool {
		var s *Store
		if s, err = Open(t.Context(), location(dsn), Options{}); err != nil {
			return true
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 50 {
			if _, _, err = s.Create(ctx, testKey("k")); core.ReasonOf(err) == core.Conflict {
				_, err = s.Get(ctx, core.NetworkID{}, "k")
			}
			if err != nil {
				break
			}
		}
		must(t, s.Close())
		return err != nil
	})
	wantReason(t, err, core.Unavailable)
	if !strings.Contains(err.Error(), "add default_query_exec_mode=exec to the DSN") {
		t.Errorf("the error does not say what to do: %v", err)
	}
}

func TestPgBouncer_ThatLosesTheServerDuringACommitDoesNotMeanThatNothingWasDone(t *testing.T) {
	t.Parallel()
	direct := pgtest.Database(t)
	p, _ := newProxy(t, direct)
	name := pgtest.Name(t, direct)
	host, port, err := net.SplitHostPort(p.listener.Addr().String())
	must(t, err)
	bouncer := pgtest.PgBouncer(t, pgtest.Shared(t), "transaction", "server_login_retry = 1",
		"[databases]", fmt.Sprintf("%s = host=%s port=%s", name, host, port))
	s := openAt(t, bouncer.DSN(name)+execMode+"&listen="+pgtest.Shared(t).Addr(), Options{})
	create(t, s, "before")
	p.failCommit(loseAnswer)
	_, _, err = s.Create(t.Context(), testKey("during"))
	wantReason(t, err, core.Unavailable)
	wantUnknown(t, err)
	eventually(t, "it was made, once", func() bool { return slotOf(s, "during") == 2 })
	eventuallyWorks(t, "changes are made again", func() error { return revoke(t.Context(), s, "before") })
	wantSound(t, direct)
}

// PgBouncer 1.18 to 1.20.0, which distributions have, may crash on a cancel request.
func TestQuery_ThatIsGivenUpOpensNoConnectionToCancelIt(t *testing.T) {
	t.Parallel()
	p, dsn := newProxy(t, pgtest.Database(t))
	target, err := parseDSN(location(dsn))
	must(t, err)
	pool, err := pgxpool.NewWithConfig(t.Context(), target.pool)
	must(t, err)
	defer pool.Close()
	pooled, err := pool.Acquire(t.Context())
	must(t, err)
	defer pooled.Release()
	watching, err := connect(t.Context(), target.listen)
	must(t, err)
	for _, c := range []*pgx.Conn{pooled.Conn(), watching} {
		ctx, giveUp := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer giveUp()
		if _, err := c.Exec(ctx, "SELECT pg_sleep(0.5)"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the query ended with %v", err)
		}
		<-c.PgConn().CleanupDone()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.accepted != 2 {
		t.Errorf("%d connections were opened, not one for each of the two", p.accepted)
	}
}
