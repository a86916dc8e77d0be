package transfer_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage"
	"github.com/talos-edge/talos-edge/storage/postgres"
	"github.com/talos-edge/talos-edge/storage/sqlite"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
	"github.com/talos-edge/talos-edge/storage/transfer"
)

// end is a database as one end of a copy, with a schema.
func end(t *testing.T, dsn string) transfer.Database {
	t.Helper()
	_, err := storage.MigrateUp(t.Context(), dsn, 0)
	must(t, err)
	scheme, location, _ := strings.Cut(dsn, "://")
	var db transfer.Database
	if scheme == "sqlite" {
		db, err = sqlite.Transfer(location, zap.NewNop())
	} else {
		db, err = postgres.Transfer(t.Context(), location, zap.NewNop())
	}
	must(t, err)
	t.Cleanup(db.Close)
	return db
}

// altering is a database that writes other rows than it was given.
type altering struct {
	transfer.Database
	alter func(table string, rows iter.Seq2[[]any, error]) iter.Seq2[[]any, error]
}

func (a altering) Write(ctx context.Context, f func(transfer.Tx) error) error {
	return a.Database.Write(ctx, func(tx transfer.Tx) error { return f(alteringTx{tx, a}) })
}

type alteringTx struct {
	transfer.Tx
	altering
}

func (a alteringTx) Insert(
	ctx context.Context, t *sqlstore.Table, rows iter.Seq2[[]any, error],
) (int64, error) {
	return a.Tx.Insert(ctx, t, a.alter(t.Name, rows))
}

var errDisk = errors.New("the disk is on fire")

// alterations are what may happen to the rows of a table on their way.
var alterations = map[string]func(row []any, n int, yield func([]any, error) bool) bool{
	"a value differs": func(row []any, n int, yield func([]any, error) bool) bool {
		if n == 3 {
			row[1] = int64(1_000_000)
		}
		return yield(row, nil)
	},
	"a value is null, or is not": func(row []any, n int, yield func([]any, error) bool) bool {
		if used := &row[len(row)-1]; n == 3 && *used == nil {
			*used = int64(0)
		} else if n == 3 {
			*used = nil
		}
		return yield(row, nil)
	},
	"a row is missing": func(row []any, n int, yield func([]any, error) bool) bool { return n == 3 || yield(row, nil) },
	"it breaks off": func(_ []any, n int, yield func([]any, error) bool) bool {
		return n != 3 || yield(nil, errDisk)
	},
}

func TestACopyThatIsNotItsSourceIsNotUsed(t *testing.T) {
	t.Parallel()
	for name, alter := range alterations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachTarget(t, func(t *testing.T, from, to string) {
				t.Helper()
				source := open(t, from)
				newHistory(source, 7, "k").run(t, 30)
				want := contentOf(t, source)
				alterKeys := func(table string, rows iter.Seq2[[]any, error]) iter.Seq2[[]any, error] {
					if table != "keys" {
						return rows
					}
					return func(yield func([]any, error) bool) {
						n := 0
						for row, err := range rows {
							if n++; err != nil || !alter(row, n, yield) {
								return
							}
						}
					}
				}
				target := altering{end(t, to), alterKeys}
				if _, err := transfer.Copy(t.Context(), end(t, from), target, transfer.Options{}); err == nil {
					t.Error("no error")
				}
				wantUnusable(t, to)
				copied(t, from, to)
				wantCopy(t, open(t, to), want)
			})
		})
	}
}

func TestACopyThatIsInterruptedIsNotUsed(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		newHistory(source, 8, "k").run(t, 30)
		want := contentOf(t, source)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := storage.Copy(ctx, from, to, storage.Options{}, storage.CopyOptions{
			Progress: func(storage.CopyProgress) { cancel() },
		})
		wantReason(t, err, core.DeadlineExceeded)
		wantUnusable(t, to)
		copied(t, from, to)
		wantCopy(t, open(t, to), want)
	})
}

func TestADatabaseThatIsBeingCopiedIntoIsNoSource(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to string) {
		t.Helper()
		newHistory(open(t, from), 8, "k").run(t, 10)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := storage.Copy(ctx, from, to, storage.Options{}, storage.CopyOptions{
			Progress: func(storage.CopyProgress) { cancel() },
		})
		wantReason(t, err, core.DeadlineExceeded)
		_, err = storage.Copy(t.Context(), to, engines["sqlite"](t), storage.Options{}, storage.CopyOptions{})
		wantReason(t, err, core.FailedPrecondition)
	})
}
