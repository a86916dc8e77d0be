package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// pages serves the keys 0 to 4 in pages of two, whose tokens are the number of their first key. It fails from a key on.
type pages struct {
	failFrom int
	again    bool // each page is followed by itself
	asked    atomic.Int64
}

func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.asked.Add(1)
	first, _ := strconv.Atoi(r.URL.Query().Get("page_token"))
	if first >= p.failFrom {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var page client.ListIssuedResponse
	for i := first; i < min(first+2, 5); i++ {
		page.IssuedAPIKeys = append(page.IssuedAPIKeys, client.Key{KeyID: strconv.Itoa(i)})
	}
	if first+2 < 5 {
		page.NextPageToken = strconv.Itoa(first + 2)
	}
	if p.again {
		page.NextPageToken = strconv.Itoa(first)
	}
	_ = json.NewEncoder(w).Encode(page)
}

func (p *pages) client(t *testing.T) *client.Client {
	t.Helper()
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	c, err := client.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// collect is what a list yields.
func collect(ctx context.Context, c *client.Client, r client.ListRequest) (ids []string, errs []error) {
	for key, err := range c.List(ctx, r) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ids = append(ids, key.KeyID)
	}
	return ids, errs
}

func TestAListReadsPageAfterPage(t *testing.T) {
	t.Parallel()
	p := &pages{failFrom: 5}
	c := p.client(t)
	ids, errs := collect(t.Context(), c, client.ListRequest{})
	if !slices.Equal(ids, []string{"0", "1", "2", "3", "4"}) || len(errs) > 0 || p.asked.Load() != 3 {
		t.Errorf("got %v, %v with %d calls", ids, errs, p.asked.Load())
	}
	ids, errs = collect(t.Context(), c, client.ListRequest{PageToken: "2"})
	if !slices.Equal(ids, []string{"2", "3", "4"}) || len(errs) > 0 {
		t.Errorf("from a page on: got %v, %v", ids, errs)
	}
}

func TestAListThatIsUsedTwiceBeginsAnew(t *testing.T) {
	t.Parallel()
	p := &pages{failFrom: 5}
	list := p.client(t).List(t.Context(), client.ListRequest{})
	for range 2 {
		n := 0
		for _, err := range list {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 5 {
			t.Errorf("got %d keys", n)
		}
	}
}

func TestAListAsksNoMoreThanIsUsed(t *testing.T) {
	t.Parallel()
	p := &pages{failFrom: 5}
	for key, err := range p.client(t).List(t.Context(), client.ListRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		if key.KeyID == "1" {
			break
		}
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestAListEndsWithItsFirstError(t *testing.T) {
	t.Parallel()
	p := &pages{failFrom: 4}
	ids, errs := collect(t.Context(), p.client(t), client.ListRequest{})
	if len(ids) != 4 || len(errs) != 1 || p.asked.Load() != 3 {
		t.Fatalf("got %v, %v with %d calls", ids, errs, p.asked.Load())
	}
	if e, ok := errors.AsType[*client.Error](errs[0]); !ok || e.HTTP != http.StatusServiceUnavailable {
		t.Errorf("got %v", errs[0])
	}
}

func TestAListWhosePagesGoInACircleEnds(t *testing.T) {
	t.Parallel()
	p := &pages{failFrom: 5, again: true}
	_, errs := collect(t.Context(), p.client(t), client.ListRequest{PageToken: "0"})
	if len(errs) != 1 || !errors.Is(errs[0], client.ErrAnswer) {
		t.Errorf("got %v", errs)
	}
}

func TestAListEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := &pages{failFrom: 5}
	n := 0
	for _, err := range p.client(t).List(ctx, client.ListRequest{}) {
		n++
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			break
		}
		cancel()
	}
	if n != 3 || p.asked.Load() != 1 {
		t.Errorf("%d keys and errors with %d calls", n, p.asked.Load())
	}
}
