package postgres

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/internal/schema"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// shape is all that a database has of tables, columns, indexes, constraints and sequences.
func shape(t *testing.T, dsn string) string {
	t.Helper()
	return queryText(t, dsn, `SELECT coalesce(string_agg(line, E'\n' ORDER BY line), '') FROM (
		SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default)
			FROM information_schema.columns WHERE table_schema = 'public'
		UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
		UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
			WHERE connamespace = 'public'::regnamespace
		UNION ALL SELECT relname || ' ' || relkind::text || coalesce(reloptions::text, '') FROM pg_class
			WHERE relnamespace = 'public'::regnamespace
	) AS lines(line)`)
}

func TestSchema_UpDownAndUpAgainIsTheSame(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	top, err := MigrateUp(t.Context(), location(dsn), 0)
	must(t, err)
	first := shape(t, dsn)
	for v := top.Version; v > 0; v-- {
		if s, err := MigrateDown(t.Context(), location(dsn), 1); err != nil || s.Version != v-1 {
			t.Fatal(s, err)
		}
	}
	if left := shape(t, dsn); strings.Contains(left, "keys") || strings.Contains(left, "events") {
		t.Errorf("after all steps down there is still\n%s", left)
	}
	for v := int64(1); v <= top.Version; v++ {
		if s, err := MigrateUp(t.Context(), location(dsn), 1); err != nil || s.Version != v {
			t.Fatal(s, err)
		}
	}
	if again := shape(t, dsn); again != first {
		t.Errorf("the schema is\n%s\nand was\n%s", again, first)
	}
	create(t, openAt(t, dsn, Options{}), "k")
}

func TestSchema_OfSeveralThatOpenAtOnceOneMigrates(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	logs, seen := observer.New(zap.InfoLevel)
	const n = 8
	answers := make(chan error)
	unlock := hold(t, dsn, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", migrationLock))
	for range n {
		go func() {
			s, err := Open(context.Background(), location(dsn), Options{Logger: zap.New(logs)})
			if err == nil {
				err = s.Close()
			}
			answers <- err
		}()
	}
	eventually(t, "all wait for one lock", func() bool {
		return queryText(t, dsn, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() "+
			"AND wait_event = 'advisory'") == "8"
	})
	unlock()
	for range n {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if got, want := seen.FilterMessage("migrated the database").Len(), len(migrations().New().Versions); got != want {
		t.Errorf("%d migrations were made, want %d", got, want)
	}
}

func TestSchema_AMigrationThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	before := shape(t, dsn)
	broken := errors.New("broken")
	_, err := onSchema(t.Context(), location(dsn), func(m *schema.Migrations) (schema.Schema, error) {
		s, err := m.Up(t.Context(), 0)
		return s, errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	if after := shape(t, dsn); after != before {
		t.Errorf("it left\n%s", after)
	}
	create(t, openAt(t, dsn, Options{}), "k")
}

// newer makes a schema one that a later build has migrated, on which builds may run that know it up to a version.
func newer(t *testing.T, dsn string, oldest int64) {
	t.Helper()
	execute(t, dsn, fmt.Sprintf("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true); "+
		"UPDATE compatibility SET oldest = %d; ALTER TABLE keys ADD COLUMN later TEXT NOT NULL DEFAULT ''", oldest))
}

func TestSchema_NewerAndCompatibleIsUsed(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s := openAt(t, dsn, Options{})
	newer(t, dsn, migrations().New().Newest)
	create(t, s, "by the one that was there")
	create(t, openAt(t, dsn, Options{}), "by the one that comes")
	if up, err := MigrateUp(t.Context(), location(dsn), 0); err != nil || up.Version != 99 {
		t.Error(up, err)
	}
	state, err := ReadState(t.Context(), location(dsn))
	if err != nil || state.Version != 99 || state.Keys != 2 || state.Position != 2 {
		t.Errorf("%+v, %v", state, err)
	}
	wantSound(t, dsn)
}

func TestSchema_NewerAndNotCompatibleIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	must(t, openAt(t, dsn, Options{}).ClaimSecret(t.Context(), core.NetworkID{}, []string{"check"}))
	newer(t, dsn, migrations().New().Newest+1)
	before := shape(t, dsn)
	_, opening := Open(t.Context(), location(dsn), Options{})
	_, up := MigrateUp(t.Context(), location(dsn), 0)
	_, down := MigrateDown(t.Context(), location(dsn), 1)
	for _, err := range []error{opening, up, down} {
		wantReason(t, err, core.FailedPrecondition)
		if !strings.Contains(fmt.Sprint(err), "run the newer build that wrote it") {
			t.Errorf("the error does not say what to do: %v", err)
		}
	}
	if s, err := ReadSchema(t.Context(), location(dsn)); err != nil || s.Version != 99 {
		t.Error(s, err)
	}
	if check, err := ReadSecretCheck(t.Context(), location(dsn), core.NetworkID{}); err != nil || check != "check" {
		t.Error(check, err)
	}
	if after := shape(t, dsn); after != before {
		t.Errorf("it is\n%s\nand was\n%s", after, before)
	}
}

// TestSchema_ReadingNeedsAndChangesNothing reads as a user who may only read.
func TestSchema_ReadingNeedsAndChangesNothing(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "fsync = off")
	server.Exec(t, "CREATE ROLE reader LOGIN")
	for _, there := range []bool{false, true} {
		dsn := server.Database(t)
		want := migrations().New()
		if there {
			s := openAt(t, dsn, Options{})
			create(t, s, "k")
			must(t, s.ClaimSecret(t.Context(), core.NetworkID{}, []string{"check"}))
			var err error
			want, err = ReadSchema(t.Context(), location(dsn))
			must(t, err)
			execute(t, dsn, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
		}
		before := shape(t, dsn)
		reader := location(strings.Replace(dsn, "postgres@", "reader@", 1))
		got, err := ReadSchema(t.Context(), reader)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("the schema is %+v, %v, want %+v", got, err, want)
		}
		state, err := ReadState(t.Context(), reader)
		if err != nil || there != (state.Keys == 1) || there != (state.Position == 1) || state.Version != want.Version {
			t.Errorf("the state is %+v, %v", state, err)
		}
		check, err := ReadSecretCheck(t.Context(), reader, core.NetworkID{})
		if err != nil || there != (check == "check") {
			t.Errorf("the check value is %q, %v", check, err)
		}
		if after := shape(t, dsn); after != before {
			t.Errorf("the database is\n%s\nand was\n%s", after, before)
		}
	}
}

// TestSchema_TheNodesUserOwnsItsDatabaseAndNothingElse runs a store as a user without any privilege but that.
func TestSchema_TheNodesUserOwnsItsDatabaseAndNothingElse(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "fsync = off")
	server.Exec(t, "CREATE ROLE talos LOGIN")
	dsn := server.Database(t)
	server.Exec(t, "ALTER DATABASE "+pgx.Identifier{pgtest.Name(t, dsn)}.Sanitize()+" OWNER TO talos")
	owner := strings.Replace(dsn, "postgres@", "talos@", 1)
	a, b := openAt(t, owner, Options{}), openAt(t, owner, unhurried)
	create(t, a, "k")
	eventually(t, "it is notified", func() bool { return slotOf(b, "k") == 1 })
	if origin := queryText(t, dsn, "SELECT origin FROM feed"); strings.Count(origin, "/") != 2 {
		t.Errorf("the feed's origin is %q: a failover would not be noticed", origin)
	}
}

func TestSchema_TakenDownUnderAStoreMakesItUnready(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s := openAt(t, dsn, Options{})
	must(t, s.Ping(t.Context()))
	_, err := MigrateDown(t.Context(), location(dsn), 1)
	must(t, err)
	wantReason(t, s.Ping(t.Context()), core.Unavailable)
	_, err = MigrateUp(t.Context(), location(dsn), 0)
	must(t, err)
	eventuallyWorks(t, "it is ready again", func() error { return s.Ping(t.Context()) })
	eventuallyWorks(t, "changes are made again", func() error {
		_, _, err := s.Create(t.Context(), testKey("k"))
		return err
	})
}
