package postgres

import (
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// withReplicas is a DSN with an option replica for each standby.
func withReplicas(t *testing.T, dsn string, standbys ...*pgtest.Server) string {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	query := u.Query()
	for _, s := range standbys {
		query.Add(replicaOption, s.Addr())
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// replicated starts a server with some standbys, and makes a database that they show.
func replicated(t *testing.T, standbys int) (dsn string, all []*pgtest.Server) {
	t.Helper()
	primary := pgtest.Start(t, "fsync = off")
	dsn = primary.Database(t)
	openAt(t, dsn, Options{})
	for range standbys {
		all = append(all, primary.Standby(t, "fsync = off"))
	}
	return dsn, all
}

// asked is how many transactions a server has finished in a database by the store's connections that have ended.
func asked(t *testing.T, server *pgtest.Server, dsn string) int {
	t.Helper()
	n, err := strconv.Atoi(server.Text(t, "SELECT xact_commit FROM pg_stat_database WHERE datname = $1",
		pgtest.Name(t, dsn)))
	must(t, err)
	return n
}

func TestReplica_LookUpsTakeTurnsOnReplicasThatHaveComeFarEnough(t *testing.T) {
	t.Parallel()
	dsn, standbys := replicated(t, 2)
	create(t, openAt(t, dsn, Options{}), "k")
	for _, s := range standbys {
		s.CatchUp(t)
	}
	before := []int{asked(t, standbys[0], dsn), asked(t, standbys[1], dsn)}
	s := openAt(t, withReplicas(t, dsn, standbys...), Options{})
	const lookUps = 100
	for range lookUps {
		if k, err := s.Get(t.Context(), core.NetworkID{}, "k"); err != nil || k.ID != "k" {
			t.Fatal(k, err)
		}
		found, err := s.GetMany(t.Context(), core.NetworkID{}, []string{"k", "another"})
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
	}
	must(t, s.Close()) // sessions report what they have done at their end
	for i, standby := range standbys {
		eventually(t, "each replica has answered half of the look-ups", func() bool {
			return asked(t, standby, dsn)-before[i] >= lookUps
		})
	}
}

func TestReplica_ThatLagsUndoesNoChange(t *testing.T) {
	t.Parallel()
	dsn, standbys := replicated(t, 1)
	s := openAt(t, withReplicas(t, dsn, standbys...), Options{})
	other := openAt(t, dsn, Options{})
	for _, id := range []string{"own", "other's", "earlier", "untouched"} {
		create(t, s, id)
	}
	standbys[0].CatchUp(t)
	standbys[0].PauseReplay(t)
	must(t, revoke(t.Context(), s, "own"))
	must(t, revoke(t.Context(), other, "other's"))
	must(t, revoke(t.Context(), other, "earlier"))
	create(t, other, "new")
	eventually(t, "the changes are applied", func() bool { return s.positions.Applied() == 8 })
	late := openAt(t, withReplicas(t, dsn, standbys...), Options{}) // the revocations are not in its memory
	for _, s := range []*Store{s, late} {
		for id, want := range map[string]core.Status{
			"own": core.StatusRevoked, "other's": core.StatusRevoked, "earlier": core.StatusRevoked,
			"new": core.StatusActive, "untouched": core.StatusActive,
		} {
			if k, err := s.Get(t.Context(), core.NetworkID{}, id); err != nil || k.Status != want {
				t.Errorf("%s: status %d, %v, want %d", id, k.Status, err, want)
			}
			found, err := s.GetMany(t.Context(), core.NetworkID{}, []string{"untouched", id})
			if err != nil || found[id].Status != want {
				t.Errorf("%s among others: status %d, %v, want %d", id, found[id].Status, err, want)
			}
		}
	}
	standbys[0].ResumeReplay(t)
}

func TestReplica_ThatIsDownIsNotMissed(t *testing.T) {
	t.Parallel()
	dsn, standbys := replicated(t, 2)
	s := openAt(t, withReplicas(t, dsn, standbys...), Options{})
	create(t, s, "k")
	standbys[0].Kill(t)
	for range 10 {
		if _, err := s.Get(t.Context(), core.NetworkID{}, "k"); err != nil {
			t.Fatal(err)
		}
	}
	standbys[1].Kill(t)
	for range 10 {
		if _, err := s.Get(t.Context(), core.NetworkID{}, "k"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Get(t.Context(), core.NetworkID{}, "another")
	wantReason(t, err, core.KeyNotFound)
	late := openAt(t, withReplicas(t, dsn, standbys...), Options{}) // they are not needed to start either
	must(t, late.Ping(t.Context()))
}

func TestReplica_IsAStandbyAlsoWhereThePrimaryIsTheServerThatCanBeWritten(t *testing.T) {
	t.Parallel()
	target, err := parseDSN("talos@127.0.0.1,127.0.0.2/talos?sslmode=disable&target_session_attrs=read-write" +
		"&replica=127.0.0.3&listen=127.0.0.4")
	must(t, err)
	if target.replicas[0].ConnConfig.ValidateConnect != nil {
		t.Error("a standby would be refused as a replica")
	}
	if target.listen.ValidateConnect == nil {
		t.Error("a standby would be listened to, where no change is announced")
	}
	target, err = parseDSN("/talos?host=127.0.0.1&port=1234&sslmode=disable&replica=127.0.0.3:5555")
	must(t, err)
	if c := target.replicas[0].ConnConfig; c.Host != "127.0.0.3" || c.Port != 5555 || c.Database != "talos" {
		t.Errorf("the replica is %s:%d/%s", c.Host, c.Port, c.Database)
	}
	if !strings.Contains(Display("/talos?host=127.0.0.1&port=1234&sslmode=disable"), "127.0.0.1:1234") {
		t.Error("the host is not displayed")
	}
}
