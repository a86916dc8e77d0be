package transfer_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage"
)

// followed copies one database to another and follows it. Each report of a round goes to report, with its number from 1
// on; the copy ends when nothing changes any more.
func followed(
	ctx context.Context, from, to string, report func(n int, p storage.CopyProgress) error,
) error {
	var (
		rounds int
		failed error
	)
	_, err := storage.Copy(ctx, from, to, storage.Options{}, storage.CopyOptions{
		Progress: func(p storage.CopyProgress) {
			if p.Step == "follow" {
				rounds++
				failed = errors.Join(failed, report(rounds, p))
			}
		},
		Follow: &storage.CopyFollow{UntilIdle: time.Millisecond},
	})
	return errors.Join(err, failed)
}

func TestAFollowedSourceIsCopiedWithAllThatIsWrittenMeanwhile(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		first := newHistory(source, seed, "first")
		first.run(t, 50)
		finish := make(chan struct{})
		var writers sync.WaitGroup
		for i, name := range []string{"a", "b", "c"} {
			writers.Go(func() {
				h := newHistory(source, seed+uint64(i), name)
				h.keys = append(h.keys, first.keys...) // which the copy has
				for range 60 {
					if err := h.change(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		go func() {
			writers.Wait()
			close(finish)
		}()
		result, err := storage.Copy(t.Context(), from, to, storage.Options{},
			storage.CopyOptions{Follow: &storage.CopyFollow{Finish: finish}})
		must(t, err)
		want := contentOf(t, source)
		if n := uint64(len(want.events)); result.Position != n || result.Missed != 0 {
			t.Errorf("it copied up to %d and missed %d, want %d and none", result.Position, result.Missed, n)
		}
		wantCopy(t, open(t, to), want)
	})
}

func TestEachRoundAppliesTheChangesSinceTheOneBefore(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		h := newHistory(source, 10, "k")
		h.run(t, 50)
		err := followed(t.Context(), from, to, func(n int, p storage.CopyProgress) error {
			if at := int64(source.Positions().Applied()); p.Done != at || p.Total != at {
				t.Errorf("round %d has reached %d of %d, want %d", n, p.Done, p.Total, at)
			}
			if n > 5 {
				return nil
			}
			var err error
			for range 20 {
				err = errors.Join(err, h.change(t.Context()))
			}
			if n == 3 { // the copy does not keep what the source has removed
				_, prune := source.PruneEvents(t.Context(), time.Time{}, 30)
				err = errors.Join(err, prune)
			}
			return err
		})
		must(t, err)
		wantCopy(t, open(t, to), contentOf(t, source))
	})
}

// The key that replaces another one of the same request must not meet it in the target.
func TestARequestIDMovesFromOneKeyToAnotherWithinARound(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		key := func(id, request string) core.Key {
			return core.Key{
				ID: id, Kind: core.Imported, Status: core.StatusActive, RequestID: request, CreateTime: start,
				UpdateTime: start,
			}
		}
		create := func(k core.Key) error {
			_, created, err := source.Create(t.Context(), k)
			if !created {
				err = errors.Join(err, errors.New("not created"))
			}
			return err
		}
		remove := func(id string) error {
			return source.Delete(t.Context(), core.NetworkID{}, id, core.Deletion{Time: start})
		}
		must(t, errors.Join(create(key("a", "1")), create(key("b", "2"))))
		err := followed(t.Context(), from, to, func(n int, _ storage.CopyProgress) error {
			if n > 1 {
				return nil
			}
			name := "renamed"
			_, err := source.Update(t.Context(), core.NetworkID{}, core.Imported, "b",
				core.Update{Patch: core.Patch{Name: &name}, Time: start})
			for range 1000 { // a chunk
				_, renamed := source.Update(t.Context(), core.NetworkID{}, core.Imported, "b",
					core.Update{Patch: core.Patch{Name: &name}, Time: start})
				err = errors.Join(err, renamed)
			}
			return errors.Join(err, remove("a"), remove("b"), create(key("b", "1")))
		})
		must(t, err)
		wantCopy(t, open(t, to), contentOf(t, source))
	})
}

func TestATargetIsNotOpenedWhileItIsFollowed(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to string) {
		t.Helper()
		newHistory(open(t, from), 11, "k").run(t, 10)
		err := followed(t.Context(), from, to, func(int, storage.CopyProgress) error {
			wantUnusable(t, to)
			return nil
		})
		must(t, err)
		open(t, to)
	})
}

func TestACopyFollowsAsLongAsANodeUsesTheSource(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		newHistory(source, 12, "k").run(t, 10)
		node := core.NodeState{Edge: feed.Edge{ID: "node", Seen: time.Now()}}
		must(t, source.SaveNode(t.Context(), node))
		rounds := 0
		err := followed(t.Context(), from, to, func(n int, p storage.CopyProgress) error {
			rounds = n
			want := int64(1)
			if n > 5 {
				want = 0
			}
			if p.Nodes != want {
				t.Errorf("round %d sees %d nodes, want %d", n, p.Nodes, want)
			}
			if n == 5 {
				return source.RemoveNode(t.Context(), "node")
			}
			return nil
		})
		must(t, err)
		if rounds < 6 {
			t.Errorf("it ended after %d rounds, with a node on the source", rounds)
		}
	})
}

// A change that is acknowledged while both databases are compared is not lost.
func TestAChangeDuringTheLastComparisonIsFollowedToo(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		h := newHistory(source, 13, "k")
		h.run(t, 10)
		following, changed := false, 0
		var failed error
		_, err := storage.Copy(t.Context(), from, to, storage.Options{}, storage.CopyOptions{
			Progress: func(p storage.CopyProgress) {
				following = following || p.Step == "follow"
				if following && p.Step == "check keys" && changed < 3 {
					changed++
					failed = errors.Join(failed, h.create(t.Context()))
				}
			},
			Follow: &storage.CopyFollow{UntilIdle: time.Millisecond},
		})
		must(t, errors.Join(err, failed))
		if changed != 3 {
			t.Errorf("%d changes were made meanwhile, want 3", changed)
		}
		wantCopy(t, open(t, to), contentOf(t, source))
	})
}

// A use is no change of the feed, and may be recorded long after it.
func TestUsesOfKeysAreCopiedAtTheEnd(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		h := newHistory(source, 14, "k")
		h.run(t, 30)
		err := followed(t.Context(), from, to, func(n int, _ storage.CopyProgress) error {
			if n > 1 {
				return nil
			}
			var uses []core.Use
			for i, k := range h.keys {
				at := time.Now() // or earlier than any copy looks for at first
				if i%2 == 0 {
					at = start.Add(10_000 * time.Hour)
				}
				uses = append(uses, core.Use{Network: k.Network, KeyID: k.ID, Time: at})
			}
			return source.RecordUse(t.Context(), uses)
		})
		must(t, err)
		wantCopy(t, open(t, to), contentOf(t, source))
	})
}

func TestAFollowedSourceThatLosesEventsIsCopiedAnew(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, from string, source core.Store) error{
		"it was restored": func(t *testing.T, from string, _ core.Store) error {
			t.Helper()
			db, err := sql.Open("sqlite", strings.TrimPrefix(from, "sqlite://"))
			must(t, err)
			_, err = db.ExecContext(t.Context(), "UPDATE feed SET id = 'another'")
			return errors.Join(err, db.Close())
		},
		"events were removed before they were copied": func(t *testing.T, _ string, source core.Store) error {
			t.Helper()
			_, err := source.PruneEvents(t.Context(), time.Time{}, 2)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachTarget(t, func(t *testing.T, from, to string) {
				t.Helper()
				source := open(t, from)
				h := newHistory(source, 15, "k")
				h.run(t, 10)
				err := followed(t.Context(), from, to, func(int, storage.CopyProgress) error {
					return errors.Join(h.create(t.Context()), h.create(t.Context()), h.create(t.Context()),
						lose(t, from, source))
				})
				wantReason(t, err, core.FailedPrecondition)
				wantUnusable(t, to)
				copied(t, from, to)
				wantCopy(t, open(t, to), contentOf(t, source))
			})
		})
	}
}

func TestASecondCopyEndsTheOneThatFollows(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to string) {
		t.Helper()
		source := open(t, from)
		h := newHistory(source, 16, "k")
		h.run(t, 10)
		err := followed(t.Context(), from, to, func(n int, _ storage.CopyProgress) error {
			if n > 1 {
				return nil
			}
			must(t, h.create(t.Context()))
			copied(t, from, to)
			return nil
		})
		wantReason(t, err, core.FailedPrecondition)
		wantCopy(t, open(t, to), contentOf(t, source))
	})
}

func TestAFollowingCopyThatIsInterruptedIsNotUsed(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to string) {
		t.Helper()
		newHistory(open(t, from), 17, "k").run(t, 10)
		ctx, cancel := context.WithCancel(t.Context())
		err := followed(ctx, from, to, func(int, storage.CopyProgress) error {
			cancel()
			return nil
		})
		if err == nil {
			t.Error("no error")
		}
		wantUnusable(t, to)
	})
}
