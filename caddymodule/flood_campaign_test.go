package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Callers ask with credentials that nobody has seen, as fast as they can: none is admitted, each is refused or told
// to come again, and keys that were good before are answered all the time, although their lifetime ends repeatedly.
func TestAttack08_Campaign_AFloodTakesNothingFromKnownKeys(t *testing.T) {
	c := newCampaign(t)
	const short = "ttl 1s\nnegative_ttl 1s\nstale_if_error 0"
	t.Run("embedded", func(t *testing.T) {
		s := newSolo(t)
		s.mustLoad("talos {\nstorage sqlite://FOLDER/talos.db\ncache {\n"+short+"\n}\n}", onlyAdmin)
		c.flood(t, s, int64(c.size(10_000, 500_000)))
	})
	t.Run("sidecar", func(t *testing.T) {
		node := newFarNode(t).handler
		far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-time.After(5 * time.Millisecond) // the way there
			node.ServeHTTP(w, r)
		}))
		defer far.Close()
		c.flood(t, startSidecar(t, far.URL, "max_in_flight 1\ntimeout 30s", short).solo, int64(c.size(4000, 200_000)))
	})
}

// flood has callers ask, in the shapes of each kind of credential, while the holders of a few keys go on.
func (c campaign) flood(t *testing.T, s *solo, total int64) {
	t.Helper()
	const callers, holders = 64, 4
	var sent, unavailable, served atomic.Int64
	var flooding, all sync.WaitGroup
	stop := make(chan struct{})
	for range holders {
		id, secret := s.issue()
		if got := s.gated(secret); got.status != http.StatusOK {
			t.Fatalf("a good key: %d %s", got.status, got.body)
		}
		all.Go(func() {
			a := newAttacker(t, s.addr)
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, body, err := a.ask(getting("/gated", secret))
				if err != nil || status != http.StatusOK || body != id {
					t.Errorf("a known key: %d %s %v", status, body, err)
					return
				}
				served.Add(1)
			}
		})
	}
	for n := range callers {
		flooding.Go(func() {
			a, random := newAttacker(t, s.addr), c.random(uint64(n))
			for sent.Add(1) <= total {
				shape := choice(random, "%016x%016x", "sk_live_%016x%016x", "ory_ak_v1_%x_%x")
				if random.IntN(32) == 0 { // few: a token that nobody can read takes a call of its own
					shape = choice(random, "mc_v1_%x%x", "eyJhbGciOiJFZERTQSJ9.%x.%x")
				}
				credential := fmt.Sprintf(shape, random.Uint64(), random.Uint64())
				switch status, body, err := a.ask(getting("/gated", credential)); {
				case err != nil:
					t.Errorf("%s: %v", credential, err)
					return
				case status == http.StatusServiceUnavailable:
					unavailable.Add(1)
				case status != http.StatusUnauthorized:
					t.Errorf("%s: %d %s", credential, status, body)
				}
			}
		})
	}
	flooding.Wait()
	close(stop)
	all.Wait()
	t.Logf("%d unknown credentials, %d of them unavailable; %d requests with known keys",
		total, unavailable.Load(), served.Load())
	if served.Load() == 0 {
		t.Error("nobody asked with a known key")
	}
}
