package sqlite

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

func TestCloseWaitsForTheLookUpsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, newDatabase(t).path, Options{})
		create(t, s, "k")
		finish, found := make(chan struct{}), make(chan error, 1)
		go func() {
			found <- s.read(t.Context(), func(ctx context.Context) error {
				<-finish
				var id string
				return s.readers.QueryRowContext(ctx, "SELECT key_id FROM keys").Scan(&id)
			})
		}()
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		synctest.Wait()
		if len(closed) != 0 {
			t.Error("closed while a look-up was under way")
		}
		close(finish)
		if err := <-found; err != nil {
			t.Errorf("the look-up: %v", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func TestNoMoreChangesWaitThanTheQueueHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		take := make(chan struct{})
		s := openAt(t, newDatabase(t).path, Options{queue: 2, hooks: sqlstore.Hooks{BeforeTake: func() { <-take }}})
		answers := make(chan error, 5)
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			go func() {
				_, _, err := s.Create(t.Context(), testKey(id))
				answers <- err
			}()
		}
		synctest.Wait()
		if n := s.group.Waiting(); n != 2 {
			t.Errorf("%d changes wait", n)
		}
		close(take)
		for range cap(answers) {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestAConnectionThatCannotRollBackIsGivenUp has a transaction end before it is rolled back, on a connection
// that accepts no more changes: the next change needs a new one.
func TestAConnectionThatCannotRollBackIsGivenUp(t *testing.T) {
	t.Parallel()
	errLost := errors.New("injected: the transaction is lost")
	var (
		s    *Store
		lose bool // used by the writer, and by the test while nothing waits
	)
	s = openAt(t, newDatabase(t).path, Options{hooks: sqlstore.Hooks{BeforeCommit: func() error {
		if !lose {
			return nil
		}
		lose = false
		conn, err := s.group.Connect(context.Background())
		for _, statement := range []string{"ROLLBACK", "PRAGMA query_only = 1"} {
			if err == nil {
				err = runOn(context.Background(), conn, statement)
			}
		}
		return errors.Join(errLost, err)
	}}})
	create(t, s, "before")
	lose = true
	if _, _, err := s.Create(t.Context(), testKey("during")); !errors.Is(err, errLost) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Get(t.Context(), core.NetworkID{}, "during"); core.ReasonOf(err) != core.KeyNotFound {
		t.Errorf("the change was made: %v", err)
	}
	create(t, s, "after")
}
