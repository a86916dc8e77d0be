package upstream

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// What is sent for "<" is six times as long as it. A call of the verifier is one call of the upstream nevertheless, so
// that whoever is in it waits for one.
func TestAttack08_CredentialsThatGrowOnTheWayTakeOneCall(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	gate, entered := make(chan struct{}), make(chan struct{}, 1000)
	s.fault = func(http.ResponseWriter, *http.Request, []byte) bool {
		entered <- struct{}{}
		<-gate
		return false
	}
	u, _ := open(t, func(c *Config) { c.MaxInFlight = 1; c.NoIPLists = true }, serve(t, s, "").URL)
	source := &countingSource{Remote: u}
	v, err := verify.New(u.Fit(verify.Config{}), source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			cred := strings.Repeat("<", 4000) + strconv.Itoa(i)
			if _, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use); err != nil {
				t.Error(err)
			}
		})
	}
	<-entered
	eventually(t, "the others wait", func() bool { return v.Stats().Waiting == 99 })
	close(gate)
	all.Wait()
	if asked, made := source.calls(), len(s.calls(":batchVerify")); asked != made {
		t.Errorf("%d calls of the upstream were made for %d", made, asked)
	}
}

// countingSource counts how often an upstream is asked.
type countingSource struct {
	*Remote

	mu    sync.Mutex
	asked int
}

func (c *countingSource) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

func (c *countingSource) count() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
}

// Lookup counts.
func (c *countingSource) Lookup(ctx context.Context, queries []verify.Query) ([]verify.LookupResult, error) {
	c.count()
	return c.Remote.Lookup(ctx, queries)
}
