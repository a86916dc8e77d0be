package sqlstore

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

func TestAFullQueueHoldsCallersBackUntilTheirContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(2)
		for range 2 {
			if err := q.push(t.Context(), &mutation{}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := q.push(ctx, &mutation{}); core.ReasonOf(err) != core.DeadlineExceeded {
			t.Error(err)
		}
		if since := time.Since(began); since != time.Second {
			t.Errorf("held back for %v", since)
		}

		third := &mutation{}
		pushed := make(chan error)
		go func() { pushed <- q.push(t.Context(), third) }()
		synctest.Wait()
		if q.size() != 2 {
			t.Errorf("%d wait", q.size())
		}
		if got := q.take(1); len(got) != 1 {
			t.Errorf("took %d", len(got))
		}
		if err := <-pushed; err != nil {
			t.Error(err)
		}
		if !q.remove(third) || q.remove(third) {
			t.Error("a mutation can be taken out once")
		}

		go func() { pushed <- q.push(t.Context(), third) }()
		if err := <-pushed; err != nil {
			t.Error(err)
		}
		go func() { pushed <- q.push(t.Context(), &mutation{}) }()
		synctest.Wait()
		q.close()
		if err := <-pushed; core.ReasonOf(err) != core.Unavailable {
			t.Error(err)
		}
		if got := q.take(maxGroup); len(got) != 2 {
			t.Errorf("%d were left", len(got))
		}
		if q.wait() {
			t.Error("a closed and empty queue says that a mutation waits")
		}
	})
}
