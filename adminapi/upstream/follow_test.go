package upstream

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/confirm"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/verify"
)

// followed is a node of ours with an edge that follows its feed, on a clock of their own.
type followed struct {
	*testing.T
	store         *apitest.Store
	keys          *engine.Engine
	keysOfB       *engine.Engine // in networkB, at b.internal
	confirmations *confirm.Confirmations
	remote        *Remote
	edge          *verify.Verifier
	logs          *observer.ObservedLogs

	mu      sync.Mutex
	lookups int
	fault   func(w http.ResponseWriter, r *http.Request) (done bool)
	spoil   func(page *client.EventsResponse) // changes what the node answers to a question for events
}

// await waits at the node for its edge.
func (f *followed) await(ctx context.Context, position uint64) confirm.Result {
	return f.confirmations.Await(ctx, core.NetworkID{}, position)
}

// follow runs a test in which an edge follows a node. prepare runs before the edge begins.
func follow(t *testing.T, prepare, test func(f *followed)) {
	t.Helper()
	followNetworks(t, nil, prepare, test)
}

// followNetworks is follow for an edge with further networks.
func followNetworks(t *testing.T, further []Network, prepare, test func(f *followed)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &followed{T: t, store: apitest.NewStore()}
		f.keys = apitest.Engine(t, f.store, 0)
		f.confirmations = confirm.New(t.Context(), f.store, "node", "")
		t.Cleanup(f.confirmations.Close)
		f.keysOfB = apitest.NetworkEngine(t, f.store, networkB)
		network, b := f.serve(core.NetworkID{}, f.keys), f.serve(networkB, f.keysOfB)
		api := adminapi.Admin(adminapi.Options{
			Network: func(r *http.Request) (adminapi.Network, error) {
				if r.Host == "b.internal" {
					return b, nil
				}
				return network, nil
			},
		})
		connect := serveInMemory(t, f.serving(api))
		f.remote, f.logs = open(t, func(c *Config) {
			c.EdgeID, c.Timeout, c.Prefixes.Public, c.Networks = "edge-1", 2*time.Second, "ory_pub", further
		}, "http://in-memory.localhost")
		_, carrier := f.remote.pool.addresses[0].client.Target()
		carrier.(*http.Transport).DialContext = connect //nolint:errcheck,forcetypeassert // the client has made it
		f.edge = verifying(t, f.remote, verify.Config{})
		if prepare != nil {
			prepare(f)
		}
		f.remote.Follow(t.Context())
		synctest.Wait()
		test(f)
	})
}

// serve is a network at the node.
func (f *followed) serve(id core.NetworkID, keys *engine.Engine) adminapi.Network {
	f.Helper()
	v, err := verify.New(verify.Config{}, keys)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(v.Close)
	return adminapi.Network{ID: id, Keys: keys, Verifier: v, Confirmations: f.confirmations}
}

// serving is the node's API with what a test does to it.
func (f *followed) serving(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		fault := f.fault
		if strings.HasSuffix(r.URL.Path, ":batchVerify") {
			f.lookups++
		}
		f.mu.Unlock()
		switch {
		case fault != nil && fault(w, r):
		case isEvents(r):
			recorded := httptest.NewRecorder()
			api.ServeHTTP(recorded, r)
			page := apitest.Unmarshal[client.EventsResponse](f.T, recorded.Body.Bytes())
			f.set(func() {
				if f.spoil != nil {
					f.spoil(&page)
				}
			})
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(&page)
		default:
			api.ServeHTTP(w, r)
		}
	})
}

func isEvents(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/events") }

// down answers each request of a kind with 503.
func down(of func(*http.Request) bool) func(w http.ResponseWriter, r *http.Request) bool {
	return answering(http.StatusServiceUnavailable, of)
}

// answering answers each request of a kind with a status.
func answering(status int, of func(*http.Request) bool) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if of(r) {
			w.WriteHeader(status)
		}
		return of(r)
	}
}

func (f *followed) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *followed) issue() (key core.Key, secret string) {
	f.Helper()
	return f.issueBy(f.keys)
}

// issueBy is issue in the network of an engine.
func (f *followed) issueBy(keys *engine.Engine) (key core.Key, secret string) {
	f.Helper()
	key, secret, err := keys.Issue(f.Context(), engine.IssueRequest{Name: "n", ActorID: "actor"})
	if err != nil {
		f.Fatal(err)
	}
	synctest.Wait() // the edge knows of it
	return key, secret
}

func (f *followed) revoke(keyID string) {
	f.Helper()
	f.revokeBy(f.keys, keyID)
}

// revokeBy is revoke in the network of an engine.
func (f *followed) revokeBy(keys *engine.Engine, keyID string) {
	f.Helper()
	if _, err := keys.Revoke(f.Context(), core.AnyKind, keyID, engine.RevokeRequest{}); err != nil {
		f.Fatal(err)
	}
}

// wantLookups checks how many calls with look-ups the node has had.
func (f *followed) wantLookups(want int, when string) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lookups != want {
		f.Errorf("%s: the node was asked %d times, want %d", when, f.lookups, want)
	}
}

// later lets time pass.
func later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAnEdgeRefusesAKeyThatIsRevokedElsewhere(t *testing.T) {
	follow(t, nil, func(f *followed) {
		key, secret := f.issue()
		expect(f, f.edge, secret, core.CodeValid, "before")
		began := time.Now()
		f.revoke(key.ID)
		synctest.Wait()
		expect(f, f.edge, secret, core.CodeRevoked, "after the revocation")
		if took := time.Since(began); took != 0 {
			f.Errorf("that took %s", took)
		}
	})
}

func TestAnEdgeAdmitsAKeyThatItHasJustRefused(t *testing.T) {
	follow(t, nil, func(f *followed) {
		const raw = "a key that is imported later"
		expect(f, f.edge, raw, core.CodeNotFound, "before")
		if _, err := f.keys.Import(f.Context(), engine.ImportRequest{
			RawKey: raw, IssueRequest: engine.IssueRequest{Name: "n", ActorID: "actor"},
		}); err != nil {
			f.Fatal(err)
		}
		synctest.Wait()
		expect(f, f.edge, raw, core.CodeValid, "after the import")
	})
}

func TestAnUpdateTakesEffectOnAnEdge(t *testing.T) {
	follow(t, nil, func(f *followed) {
		key, secret := f.issue()
		expect(f, f.edge, secret, core.CodeValid, "before")
		if _, err := f.keys.Update(f.Context(), core.Issued, key.ID, engine.UpdateRequest{
			Mask: []string{engine.PathScopes}, Scopes: []string{"orders:read"},
		}); err != nil {
			f.Fatal(err)
		}
		synctest.Wait()
		r, err := f.edge.Verify(f.Context(), core.NetworkID{}, secret, verify.Use)
		if err != nil || len(r.Verdict.Scopes) != 1 {
			f.Errorf("got %+v, %v", r.Verdict, err)
		}
	})
}

// The edge is connected: it need not look a key up again within 60 s, but within ttl_connected.
func TestAVerdictIsUsedForTenMinutesWhileTheFeedIsComplete(t *testing.T) {
	follow(t, nil, func(f *followed) {
		_, secret := f.issue()
		for range 8 {
			expect(f, f.edge, secret, core.CodeValid, "while connected")
			later(time.Minute)
		}
		f.wantLookups(1, "for eight minutes")
		later(4 * time.Minute)
		expect(f, f.edge, secret, core.CodeValid, "after twelve minutes")
		f.wantLookups(2, "for twelve minutes")
	})
}

// The short lifetime counts from the last moment at which the feed was complete, also for what was cached before.
func TestWhenTheFeedBreaksVerdictsAreUsedForAnotherMinute(t *testing.T) {
	follow(t, nil, func(f *followed) {
		_, secret := f.issue()
		expect(f, f.edge, secret, core.CodeValid, "at first")
		later(5 * time.Minute)
		f.set(func() { f.fault = down(isEvents) })
		later(35 * time.Second)
		expect(f, f.edge, secret, core.CodeValid, "35 s later")
		f.wantLookups(1, "35 s later")
		later(45 * time.Second)
		expect(f, f.edge, secret, core.CodeValid, "80 s later")
		f.wantLookups(2, "80 s later")
	})
}

func TestTheStaleWindowCountsFromWhenTheFeedBroke(t *testing.T) {
	follow(t, nil, func(f *followed) {
		_, secret := f.issue()
		expect(f, f.edge, secret, core.CodeValid, "at first")
		later(8 * time.Minute)
		f.set(func() { f.fault = down(func(*http.Request) bool { return true }) })
		later(5 * time.Minute)
		r, err := f.edge.Verify(f.Context(), core.NetworkID{}, secret, verify.Use)
		if err != nil || r.Cache != verify.Stale {
			f.Errorf("after five minutes: got %+v, %v", r, err)
		}
		later(90 * time.Second)
		if r, err := f.edge.Verify(f.Context(), core.NetworkID{}, secret, verify.Use); err == nil {
			f.Errorf("after six and a half minutes: got %+v", r)
		}
	})
}

// An answer says how long before it was written the server knew all changes.
func TestTheAgeOfACompleteAnswerCounts(t *testing.T) {
	follow(t, func(f *followed) {
		f.spoil = func(page *client.EventsResponse) { page.CompleteAge = "120s" }
	}, func(f *followed) {
		_, secret := f.issue()
		expect(f, f.edge, secret, core.CodeValid, "at first")
		later(70 * time.Second)
		expect(f, f.edge, secret, core.CodeValid, "70 s later")
		f.wantLookups(2, "70 s later")
	})
}

func TestWhatWasLookedUpBeforeTheFeedIsFollowedIsLookedUpAgain(t *testing.T) {
	var key core.Key
	var secret string
	follow(t, func(f *followed) {
		key, secret = f.issue()
		expect(f, f.edge, secret, core.CodeValid, "before the edge follows")
		f.revoke(key.ID)
	}, func(f *followed) {
		expect(f, f.edge, secret, core.CodeRevoked, "after the edge follows")
	})
}

func TestAResetEmptiesTheCache(t *testing.T) {
	follow(t, nil, func(f *followed) {
		key, secret := f.issue()
		expect(f, f.edge, secret, core.CodeValid, "at first")
		f.set(func() { f.fault = down(isEvents) })
		later(30 * time.Second)
		f.revoke(key.ID)
		for range 5 {
			f.store.Append(feed.Event{KeyID: "another", Kind: feed.EventUpdated})
		}
		if _, err := f.store.PruneEvents(f.Context(), time.Time{}, 2); err != nil {
			f.Fatal(err)
		}
		expect(f, f.edge, secret, core.CodeValid, "while the feed is broken")
		f.set(func() { f.fault = nil })
		later(10 * time.Second)
		expect(f, f.edge, secret, core.CodeRevoked, "after the events were pruned under the edge")
	})
}

// Asking for what comes next acknowledges what came before: by then nothing older is admitted.
func TestAnEdgeAcknowledgesWhatItHasApplied(t *testing.T) {
	follow(t, nil, func(f *followed) {
		key, secret := f.issue()
		synctest.Wait()
		expect(f, f.edge, secret, core.CodeValid, "before")
		asked := false
		f.set(func() {
			f.fault = func(_ http.ResponseWriter, r *http.Request) bool {
				if isEvents(r) && r.URL.Query().Get("after") == "2" {
					asked = true
					if r, ok := f.edge.Cached(core.NetworkID{}, secret); ok {
						f.Errorf("position 2 is acknowledged, and the edge still answers %+v", r.Verdict)
					}
				}
				return false
			}
		})
		f.revoke(key.ID)
		synctest.Wait()
		if !asked {
			f.Error("the edge has not asked on")
		}
		ctx, cancel := context.WithTimeout(f.Context(), time.Second)
		defer cancel()
		if got := f.await(ctx, 2); got.Confirmed != 1 || len(got.Unconfirmed) != 0 {
			f.Errorf("got %+v", got)
		}
	})
}

// A change is not confirmed by an edge that cannot be reached.
func TestAnEdgeThatDoesNotAskConfirmsNothing(t *testing.T) {
	follow(t, nil, func(f *followed) {
		f.set(func() { f.fault = down(isEvents) })
		f.issue()
		ctx, cancel := context.WithTimeout(f.Context(), 3*time.Second)
		defer cancel()
		if got := f.await(ctx, 1); got.Confirmed != 0 || strings.Join(got.Unconfirmed, " ") != "edge-1" {
			f.Errorf("got %+v", got)
		}
		f.set(func() { f.fault = nil })
		later(10 * time.Second)
		if got := f.await(f.Context(), 1); got.Confirmed != 1 {
			f.Errorf("when it asks again: got %+v", got)
		}
	})
}

func TestAnEdgeThatEndsIsNotWaitedFor(t *testing.T) {
	follow(t, nil, func(f *followed) {
		f.edge.Close()
		f.remote.Close()
		f.issue()
		ctx, cancel := context.WithTimeout(f.Context(), time.Second)
		defer cancel()
		if got := f.await(ctx, 1); got.Confirmed+len(got.Unconfirmed) != 0 {
			f.Errorf("got %+v", got)
		}
	})
}

func TestAnUpstreamWithoutAFeedIsUsedAsBeforeAndNamedOnce(t *testing.T) {
	follow(t, func(f *followed) {
		f.fault = answering(http.StatusNotFound, isEvents)
	}, func(f *followed) {
		key, secret := f.issue()
		expect(f, f.edge, secret, core.CodeValid, "at first")
		later(5 * time.Minute)
		expect(f, f.edge, secret, core.CodeValid, "after five minutes")
		f.wantLookups(2, "after five minutes")
		if n := f.logs.FilterMessageSnippet("has no change feed").Len(); n != 1 {
			f.Errorf("the log says %d times that there is no feed", n)
		}
		// The upstream is upgraded.
		f.set(func() { f.fault = nil })
		later(2 * time.Minute)
		expect(f, f.edge, secret, core.CodeValid, "when there is a feed")
		f.revoke(key.ID)
		synctest.Wait()
		expect(f, f.edge, secret, core.CodeRevoked, "when there is a feed")
	})
}

func TestAFeedThatGoesBackIsNotFollowed(t *testing.T) {
	follow(t, nil, func(f *followed) {
		f.issue()
		later(time.Second)
		f.set(func() { f.spoil = func(page *client.EventsResponse) { page.Position = 0 } })
		f.issue()
		later(30 * time.Second)
		if at := f.remote.Feed(); at.Position != 1 || time.Since(at.CompleteAt) < 25*time.Second {
			f.Errorf("it is complete as of %s ago, at %d", time.Since(at.CompleteAt), at.Position)
		}
		if f.logs.FilterMessageSnippet("change feed cannot be read").Len() == 0 {
			f.Error("the log does not say so")
		}
	})
}

func TestWhoeverNeedsAPositionWaitsForIt(t *testing.T) {
	follow(t, nil, func(f *followed) {
		ctx, cancel := context.WithTimeout(f.Context(), time.Second)
		defer cancel()
		if err := f.remote.AwaitPosition(ctx, core.NetworkID{}, 1); err == nil {
			f.Error("a position that there is not was reached")
		}
		reached := make(chan error, 1)
		go func() { reached <- f.remote.AwaitPosition(f.Context(), core.NetworkID{}, 1) }()
		f.issue()
		if err := <-reached; err != nil {
			f.Error(err)
		}
	})
}

// What has changed since the question was sent may be missing in the answer, however long it was on its way.
func TestAnAnswerIsCompleteAsOfItsQuestion(t *testing.T) {
	follow(t, nil, func(f *followed) {
		later(25 * time.Second) // a question each 10 s
		if age := time.Since(f.remote.Feed().CompleteAt); age != 15*time.Second {
			f.Errorf("it is complete as of %s ago, and the last question that was answered was sent 15 s ago", age)
		}
	})
}

// A proxy before the upstream may answer for it while it is replaced.
func TestAFeedThatIsRefusedForAMomentIsFollowedOn(t *testing.T) {
	follow(t, nil, func(f *followed) {
		f.set(func() {
			f.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if isEvents(r) {
					w.WriteHeader(http.StatusNotFound)
				}
				return isEvents(r)
			}
		})
		key, secret := f.issue() // the edge asks on, and is refused
		expect(f, f.edge, secret, core.CodeValid, "before")
		f.set(func() { f.fault = nil })
		later(2 * time.Second)
		f.revoke(key.ID)
		synctest.Wait()
		expect(f, f.edge, secret, core.CodeRevoked, "after the revocation")
		if f.logs.FilterMessageSnippet("has no change feed").Len() != 0 {
			f.Error("the log says that there is no feed")
		}
	})
}
