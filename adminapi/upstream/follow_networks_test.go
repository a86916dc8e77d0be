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
)

// followTwo runs a test in which an edge of two networks follows a node.
func followTwo(t *testing.T, prepare, test func(f *followed)) {
	t.Helper()
	b := Network{ID: networkB, Host: "b.internal", Prefixes: credential.Prefixes{Public: "ory_pub"}}
	followNetworks(t, []Network{b}, prepare, test)
}

// ofB reports whether a request is one for events of networkB.
func ofB(r *http.Request) bool { return isEvents(r) && r.Host == "b.internal" }

func TestAnEdgeFollowsTheFeedOfEachOfItsNetworks(t *testing.T) {
	followTwo(t, nil, func(f *followed) {
		key, secret := f.issue()
		keyOfB, secretOfB := f.issueBy(f.keysOfB)
		expect(f, f.edge, secret, core.CodeValid, "before")
		expectIn(f, f.edge, networkB, secretOfB, core.CodeValid, "before")
		f.revoke(key.ID)
		synctest.Wait()
		expect(f, f.edge, secret, core.CodeRevoked, "after its revocation")
		expectIn(f, f.edge, networkB, secretOfB, core.CodeValid, "after the revocation in the other network")
		f.revokeBy(f.keysOfB, keyOfB.ID)
		synctest.Wait()
		expectIn(f, f.edge, networkB, secretOfB, core.CodeRevoked, "after its revocation")
	})
}

// What is acknowledged for one network says nothing of another.
func TestAnEdgeAcknowledgesEachNetworkByItself(t *testing.T) {
	followTwo(t, nil, func(f *followed) {
		f.set(func() { f.fault = down(ofB) })
		f.issue()
		f.issueBy(f.keysOfB) // the question that is under way is answered
		f.issueBy(f.keysOfB)
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

func TestTheLogNamesEachNetworkThatHasNoFeedOnce(t *testing.T) {
	for name, of := range map[string]func(*http.Request) bool{"one of them": ofB, "all of them": isEvents} {
		t.Run(name, func(t *testing.T) {
			followTwo(t, func(f *followed) { f.fault = answering(http.StatusNotFound, of) }, func(f *followed) {
				later(5 * time.Minute)
				named := map[core.NetworkID]int{networkB: 1, {}: 1}
				if name == "one of them" {
					named[core.NetworkID{}] = 0
				}
				for id, want := range named {
					got := f.logs.FilterMessageSnippet(id.String() + ": the upstream has no change feed").Len()
					if got != want {
						f.Errorf("the log says so of %s %d times, want %d", id, got, want)
					}
				}
			})
		})
	}
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
