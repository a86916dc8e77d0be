package upstream

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
)

// followTwo runs a test in which an edge of two networks follows a node.
func followTwo(t *testing.T, prepare, test func(f *followed)) {
	t.Helper()
	b := Network{ID: networkB, Host: "b.internal", Prefixes: credential.Prefixes{Public: "ory_pub"}}
	followNetworks(t, []Network{b}, prepare, test)
}

// ofB reports whether a request is one for events of networkB.
func ofB(r *http.Request) bool { return isEvents(r) && r.Host == "b.internal" }

// expectB is expect in networkB.
func (f *followed) expectB(secret string, want core.Code, when string) {
	f.Helper()
	r, err := f.edge.Verify(f.Context(), networkB, secret, verify.Use)
	if err != nil || r.Verdict.Code != want {
		f.Errorf("%s: got %+v, %v", when, r.Verdict, err)
	}
}

func (f *followed) issueB() (key core.Key, secret string) {
	f.Helper()
	key, secret, err := f.keysOfB.Issue(f.Context(), engine.IssueRequest{Name: "n", ActorID: "actor"})
	if err != nil {
		f.Fatal(err)
	}
	synctest.Wait()
	return key, secret
}

func (f *followed) revokeB(keyID string) {
	f.Helper()
	if _, err := f.keysOfB.Revoke(f.Context(), core.AnyKind, keyID, engine.RevokeRequest{}); err != nil {
		f.Fatal(err)
	}
}

func TestAnEdgeFollowsTheFeedOfEachOfItsNetworks(t *testing.T) {
	followTwo(t, nil, func(f *followed) {
		key, secret := f.issue()
		keyOfB, secretOfB := f.issueB()
		expect(f, f.edge, secret, core.CodeValid, "before")
		f.expectB(secretOfB, core.CodeValid, "before")
		f.revoke(key.ID)
		synctest.Wait()
		expect(f, f.edge, secret, core.CodeRevoked, "after its revocation")
		f.expectB(secretOfB, core.CodeValid, "after the revocation in the other network")
		f.revokeB(keyOfB.ID)
		synctest.Wait()
		f.expectB(secretOfB, core.CodeRevoked, "after its revocation")
	})
}

// What is acknowledged for one network says nothing of another.
func TestAnEdgeAcknowledgesEachNetworkByItself(t *testing.T) {
	followTwo(t, nil, func(f *followed) {
		f.set(func() { f.fault = down(ofB) })
		f.issue()
		f.issueB() // the question that is under way is answered
		f.issueB()
		if got := f.await(f.Context(), 1); got.Confirmed != 1 || len(got.Unconfirmed) != 0 {
			f.Errorf("in the network that is followed: got %+v", got)
		}
		ctx, cancel := context.WithTimeout(f.Context(), 3*time.Second)
		defer cancel()
		got := f.confirmations.Await(ctx, networkB, 3)
		if got.Confirmed != 0 || strings.Join(got.Unconfirmed, " ") != "edge-1" {
			f.Errorf("in the network that cannot be read: got %+v", got)
		}
		if f.remote.AwaitPosition(ctx, core.NetworkID{}, 1) != nil || f.remote.AwaitPosition(ctx, networkB, 3) == nil {
			f.Error("a network's position was taken for that of the other")
		}
	})
}

// The table of changes is one, so it is complete when all of them are.
func TestWhenTheFeedOfOneNetworkBreaksVerdictsAreUsedForAnotherMinute(t *testing.T) {
	for name, broken := range map[string]func(*http.Request) bool{
		"the first": func(r *http.Request) bool { return isEvents(r) && !ofB(r) },
		"another":   ofB,
	} {
		t.Run(name, func(t *testing.T) {
			followTwo(t, nil, func(f *followed) {
				_, secret := f.issue()
				expect(f, f.edge, secret, core.CodeValid, "at first")
				later(5 * time.Minute)
				expect(f, f.edge, secret, core.CodeValid, "while both are read")
				f.wantLookups(1, "while both are read")
				f.set(func() { f.fault = down(broken) })
				later(80 * time.Second)
				expect(f, f.edge, secret, core.CodeValid, "80 s later")
				f.wantLookups(2, "80 s later")
				if n := f.logs.FilterMessageSnippet("change feed cannot be read").Len(); n != 1 {
					f.Errorf("the log says %d times that the feed cannot be read", n)
				}
				f.set(func() { f.fault = nil })
				later(time.Minute)
				if n := f.logs.FilterMessageSnippet("change feed is read again").Len(); n != 1 {
					f.Errorf("the log says %d times that the feed is read again", n)
				}
			})
		})
	}
}

func TestTheLogNamesANetworkThatHasNoFeed(t *testing.T) {
	followTwo(t, func(f *followed) {
		f.fault = func(w http.ResponseWriter, r *http.Request) bool {
			if ofB(r) {
				w.WriteHeader(http.StatusNotFound)
			}
			return ofB(r)
		}
	}, func(f *followed) {
		later(5 * time.Minute)
		if n := f.logs.FilterMessageSnippet(networkB.String() + ": the upstream has no change feed").Len(); n != 1 {
			f.Errorf("the log says so %d times", n)
		}
	})
}

func TestUntilTheFeedsOfAllNetworksAreReadNoneIsComplete(t *testing.T) {
	followTwo(t, func(f *followed) { f.fault = down(ofB) }, func(f *followed) {
		later(time.Minute)
		if f.remote.Feed().Following {
			f.Error("it counts as complete")
		}
		f.set(func() { f.fault = nil })
		later(10 * time.Second)
		if !f.remote.Feed().Following {
			f.Error("it does not count as complete, although both are read")
		}
	})
}

func TestOfVeryManyNetworksNoneIsFollowed(t *testing.T) {
	t.Parallel()
	further := make([]Network, maxFollowed)
	for i := range further {
		further[i].ID = core.NetworkID{1, byte(i >> 8), byte(i)}
	}
	s := newStandIn()
	u, logs := open(t, func(c *Config) { c.EdgeID, c.Networks = "edge", further }, serve(t, s, "").URL)
	u.Follow(t.Context())
	if got := logs.FilterMessageSnippet("change feed of the upstream is not followed").Len(); got != 1 {
		t.Errorf("%d lines say so", got)
	}
	if u.Feed().Following || len(s.calls("")) != 0 {
		t.Error("a feed is followed")
	}
}
