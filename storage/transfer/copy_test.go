package transfer_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage"
)

func TestACopyHoldsAllThatItsSourceHolds(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		reader := newHistory(source, seed, "k").run(t, 150)
		want := contentOf(t, source)
		result := copied(t, from, to)
		if n := uint64(len(want.events)); result.Position != n || result.Missed != 0 {
			t.Errorf("it copied up to %d and missed %d, want %d and none", result.Position, result.Missed, n)
		}
		target := open(t, to)
		wantCopy(t, target, want)

		for _, n := range networks {
			must(t, target.ClaimSecret(t.Context(), n, []string{"check of " + n.String()}))
			wantReason(t, target.ClaimSecret(t.Context(), n, []string{"another"}), core.FailedPrecondition)
		}
		// The process that reads the source's feed has no claim on the target's.
		at, err := target.ClaimReader(t.Context(), core.ReaderClaim{Name: "hook", Owner: "another", Lease: time.Hour})
		must(t, err)
		if at != reader {
			t.Errorf("the receiver of events goes on at %+v, want %+v", at, reader)
		}
	})
}

func TestTheNumbersOfKeysGoOnAfterACopy(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		t.Helper()
		newHistory(open(t, from), 1, "k").run(t, 50)
		copied(t, from, to)
		target := open(t, to)
		before := contentOf(t, target)
		stored, created, err := target.Create(t.Context(), core.Key{
			ID: "new", Kind: core.Issued, Status: core.StatusActive, CreateTime: start, UpdateTime: start,
		})
		if err != nil || !created {
			t.Fatal(created, err)
		}
		for _, n := range networks {
			for _, k := range before.keys[n] {
				if k.Sequence >= stored.Sequence {
					t.Fatalf("the new key has the number %d, key %s has %d", stored.Sequence, k.ID, k.Sequence)
				}
			}
		}
		page, err := target.Events(t.Context(), before.events[len(before.events)-1].Position, 10)
		must(t, err)
		if len(page.Events) != 1 || page.Events[0].Kind != feed.EventCreated {
			t.Errorf("the event of the new key is %+v", page.Events)
		}
	})
}

func TestACopyOfACopyHasTheSameDigests(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		t.Helper()
		newHistory(open(t, from), 2, "k").run(t, 100)
		first := copied(t, from, to)
		second := copied(t, to, engines["sqlite"](t))
		for i, table := range first.Tables {
			if table.Name != "events" && second.Tables[i] != table {
				t.Errorf("%+v, and in the copy of the copy %+v", table, second.Tables[i])
			}
		}
	})
}

func TestAnEmptyDatabaseIsCopied(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		want := contentOf(t, source)
		copied(t, from, to)
		wantCopy(t, open(t, to), want)
	})
}

func TestACopyGoesIntoAnEmptyDatabaseOnly(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to string) {
		t.Helper()
		newHistory(open(t, from), 3, "k").run(t, 20)
		target := open(t, to)
		newHistory(target, 4, "other").run(t, 20)
		before := contentOf(t, target)
		_, err := storage.Copy(t.Context(), from, to, storage.Options{}, storage.CopyOptions{})
		wantReason(t, err, core.FailedPrecondition)
		after := contentOf(t, target)
		wantSame(t, "events", after.events, before.events)
		open(t, to) // it is not marked
	})
}

func TestACopyIsRefusedWhileANodeUsesTheTarget(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to string) {
		t.Helper()
		newHistory(open(t, from), 3, "k").run(t, 20)
		node := core.NodeState{Edge: feed.Edge{ID: "node", Seen: time.Now()}}
		target := open(t, to)
		must(t, target.SaveNode(t.Context(), node))
		_, err := storage.Copy(t.Context(), from, to, storage.Options{}, storage.CopyOptions{})
		wantReason(t, err, core.FailedPrecondition)
		must(t, target.RemoveNode(t.Context(), "node"))
		copied(t, from, to)
	})
}

func TestADatabaseIsNotCopiedOntoItself(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		dsn := engine(t)
		open(t, dsn)
		_, err := storage.Copy(t.Context(), dsn, dsn, storage.Options{}, storage.CopyOptions{})
		wantReason(t, err, core.FailedPrecondition)
	}
}

func TestASourceThatIsMissingIsNotMade(t *testing.T) {
	t.Parallel()
	from, to := engines["sqlite"](t), engines["sqlite"](t)
	_, err := storage.Copy(t.Context(), from, to, storage.Options{}, storage.CopyOptions{})
	wantReason(t, err, core.FailedPrecondition)
	for _, dsn := range []string{from, to} {
		if _, err := storage.ReadState(t.Context(), dsn); err == nil {
			t.Errorf("%s was made", dsn)
		}
	}
}

func TestASourceOfAnotherSchemaIsRefused(t *testing.T) {
	t.Parallel()
	from, to := engines["sqlite"](t), engines["sqlite"](t)
	_, err := storage.MigrateUp(t.Context(), from, 5)
	must(t, err)
	_, err = storage.Copy(t.Context(), from, to, storage.Options{}, storage.CopyOptions{})
	wantReason(t, err, core.FailedPrecondition)
}

// A copy reads as of one moment: a change that is made meanwhile is not in it, nor half of it.
func TestChangesDuringACopyAreCountedAndLeftOut(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		h := newHistory(source, 5, "k")
		h.run(t, 100)
		want := contentOf(t, source)
		var failed error
		result, err := storage.Copy(t.Context(), from, to, storage.Options{}, storage.CopyOptions{
			Progress: func(p storage.CopyProgress) {
				if p.Step == "copy keys" { // which are read, and the events are not yet
					failed = errors.Join(failed, h.create(t.Context()), h.create(t.Context()))
				}
			},
		})
		must(t, errors.Join(err, failed))
		if result.Missed != 2 {
			t.Errorf("%d changes are missed, want 2", result.Missed)
		}
		wantCopy(t, open(t, to), want)
	})
}

func TestTheProgressOfACopyNamesItsSteps(t *testing.T) {
	t.Parallel()
	from, to := engines["sqlite"](t), engines["sqlite"](t)
	source := open(t, from)
	var keys []core.Key
	for i := range 25_000 {
		keys = append(keys, core.Key{ID: strconv.Itoa(i), Kind: core.Imported, Status: core.StatusActive})
	}
	_, err := source.CreateMany(t.Context(), core.NetworkID{}, keys, 0)
	must(t, err)
	var seen []storage.CopyProgress
	_, err = storage.Copy(t.Context(), from, to, storage.Options{},
		storage.CopyOptions{Progress: func(p storage.CopyProgress) { seen = append(seen, p) }})
	must(t, err)
	want := []storage.CopyProgress{
		{Step: "copy keys", Done: 10_000, Total: 25_000}, {Step: "copy keys", Done: 20_000, Total: 25_000},
		{Step: "copy keys", Done: 25_000, Total: 25_000}, {Step: "copy events", Done: 10_000, Total: 25_000},
	}
	wantSame(t, "reports", seen[:min(len(seen), len(want))], want)
}
