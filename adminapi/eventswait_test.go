package adminapi

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

func TestAWaitIsAnsweredWithTheNextChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.changes(t, 1)
		began := time.Now()
		go func() {
			time.Sleep(7 * time.Second)
			n.ofOthers(1) // is no reason to answer
			time.Sleep(time.Second)
			n.issue(t, "")
		}()
		page := n.events(t, "after", "1", "wait", "30s")
		wantTook(t, began, 8*time.Second)
		if !slices.Equal(positionsOf(&page), []int{3}) || page.Position != 3 || age(t, &page) != 0 {
			t.Errorf("got %+v", page)
		}
	})
}

func TestAWaitIsNotForWhatIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.changes(t, 2)
		began := time.Now()
		if page := n.events(t, "after", "1", "wait", "30s"); !slices.Equal(positionsOf(&page), []int{2}) {
			t.Errorf("got %+v", page)
		}
		wantTook(t, began, 0)
	})
}

func TestAWaitEndsWithAnEmptyPageThatIsComplete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.changes(t, 1)
		began := time.Now()
		page := n.events(t, "wait", "10s", "filter", `key_id="another"`)
		wantTook(t, began, 10*time.Second)
		if len(page.Events) != 0 || page.Position != 1 || age(t, &page) > time.Second || page.Reset {
			t.Errorf("got %+v", page)
		}
	})
}

func TestAWaitEndsWhenTheServerCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		closing, closed := context.WithCancel(t.Context())
		n.closing = closing
		time.AfterFunc(3*time.Second, closed)
		began := time.Now()
		for range 2 { // the second request comes while it closes
			page := n.events(t, "wait", "30s")
			wantTook(t, began, 3*time.Second)
			if len(page.Events) != 0 || page.CompleteAge == "" {
				t.Errorf("got %+v", page)
			}
		}
		n.changes(t, 1)
		if page := n.events(t, "wait", "30s"); len(page.Events) != 1 {
			t.Errorf("got %+v", page)
		}
	})
}

func TestAWaitEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		began := time.Now()
		apitest.Serve(n.admin, apitest.Request(http.MethodGet, eventsPath+"?wait=30s", "").WithContext(ctx))
		wantTook(t, began, 3*time.Second)
	})
}

func TestAReaderWhosePositionIsNotOfThisFeedStartsOver(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changes(t, 3)
	own := n.events(t).FeedID

	page := n.eventsOf(t, own, "after", "1")
	if page.Reset || !slices.Equal(positionsOf(&page), []int{2, 3}) {
		t.Errorf("in its own feed: %+v", page)
	}
	page = n.eventsOf(t, "another", "after", "2", "wait", "30s")
	if !page.Reset || page.FeedID != own || !slices.Equal(positionsOf(&page), []int{1, 2, 3}) {
		t.Errorf("of another feed: %+v", page)
	}
	page = n.events(t, "after", "4", "wait", "30s")
	if !page.Reset || page.Position != 3 || len(page.Events) != 0 || page.CompleteAge == "" {
		t.Errorf("beyond the end: %+v", page)
	}
	page = n.events(t, "after", "18446744073709551615")
	if !page.Reset || page.Position != 3 {
		t.Errorf("far beyond the end: %+v", page)
	}
}

func TestAReaderWhoseEventsAreNotKeptStartsOver(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changes(t, 5)
	if _, err := n.store.PruneEvents(t.Context(), time.Time{}, 2); err != nil {
		t.Fatal(err)
	}
	for after, reset := range map[string]bool{"1": true, "2": true, "3": false, "4": false, "5": false} {
		page := n.events(t, "after", after)
		if page.Reset != reset {
			t.Errorf("after %s: %+v", after, page)
		}
		if reset && !slices.Equal(positionsOf(&page), []int{4, 5}) {
			t.Errorf("after %s: %+v", after, page)
		}
	}
}

// wantTook checks how long something has taken, on the clock of a bubble.
func wantTook(t *testing.T, began time.Time, want time.Duration) {
	t.Helper()
	if took := time.Since(began); took != want {
		t.Errorf("it took %s, want %s", took, want)
	}
}
