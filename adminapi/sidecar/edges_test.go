package sidecar

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

// What an edge acknowledges through a sidecar is acknowledged at the upstream, which learns of the way.
func TestAnEdgeIsPassedOnWithTheNameOfTheSidecar(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	got := make(chan http.Header, 1)
	s.answers(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Clone() })
	network := adminapi.Network{Verifier: s.verifier}
	h := Admin(Options{
		Options: adminapi.Options{
			Network: func(*http.Request) (adminapi.Network, error) { return network, nil },
		},
		Upstream: s.upstreamNode, EdgeID: "between",
	})
	ask := func(headers ...string) http.Header {
		r := apitest.Request(http.MethodGet, eventsPath+"?after=7", "")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		apitest.Serve(h, r)
		return <-got
	}
	if h := ask(client.EdgeIDHeader, "edge"); h.Get("Talos-Edge-Id") != "edge" || h.Get("Talos-Edge-Via") != "between" {
		t.Errorf("of an edge: %v", h)
	}
	if h := ask(client.EdgeIDHeader, "edge", client.EdgeViaHeader, "first"); h.Get("Talos-Edge-Via") != "first" {
		t.Errorf("of an edge that has passed another sidecar: %v", h)
	}
	if h := ask(); h.Get("Talos-Edge-Via") != "" {
		t.Errorf("of a reader that is no edge: %v", h)
	}
}

// A change that waits for the edges may take that much longer.
func TestAChangeThatWaitsHasTheTimeForIt(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]int{
		"?wait=10s": http.StatusOK, "": http.StatusGatewayTimeout, "?wait=31s": http.StatusGatewayTimeout,
	} {
		synctest.Test(t, func(t *testing.T) {
			network := func(*http.Request) (adminapi.Network, error) { return adminapi.Network{}, nil }
			h := Admin(Options{
				Options:  adminapi.Options{Network: network},
				Upstream: &lateUpstream{&upstreamNode{}, passTimeout + 5*time.Second},
			})
			if w := apitest.Post(h, anyPath+"/"+unknownUUID+":revoke"+query, "{}"); w.Code != want {
				t.Errorf("%q: %d %s", query, w.Code, w.Body)
			}
		})
	}
}

// behind is a sidecar that has applied the changes up to position 7.
type behind struct{ *upstreamNode }

func (behind) AwaitPosition(ctx context.Context, _ core.NetworkID, position uint64) error {
	if position <= 7 {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestASidecarThatIsBehindDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	secret := s.issue(t, "").Secret
	network := adminapi.Network{Verifier: s.verifier}
	h := Admin(Options{
		Options:  adminapi.Options{Network: func(*http.Request) (adminapi.Network, error) { return network, nil }},
		Upstream: behind{s.upstreamNode},
	})
	for position, want := range map[string]int{"7": http.StatusOK, "8": http.StatusServiceUnavailable} {
		r := apitest.Request(http.MethodPost, anyPath+":verify", `{"credential":"`+secret+`"}`)
		r.Header.Set(client.MinPositionHeader, position)
		w := apitest.Serve(h, r)
		if w.Code != want {
			t.Errorf("from position %s: %d %s", position, w.Code, w.Body)
		}
		if want != http.StatusOK {
			apitest.WantError(t, w, want, core.Unavailable)
		}
	}
}

// A change that waits for edges does not keep a server from closing.
func TestAChangeThatWaitsEndsSoonWhenTheSidecarCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		closing, closeServer := context.WithCancel(t.Context())
		h := Admin(Options{
			Options: adminapi.Options{
				Network:     func(*http.Request) (adminapi.Network, error) { return adminapi.Network{}, nil },
				WhenClosing: func(f func()) (stop func() bool) { return context.AfterFunc(closing, f) },
			},
			Upstream: &lateUpstream{&upstreamNode{}, 30 * time.Second},
		})
		began := time.Now()
		go func() {
			time.Sleep(time.Second)
			closeServer()
		}()
		apitest.Post(h, anyPath+"/"+unknownUUID+":revoke?wait=30s", "{}")
		if took := time.Since(began); took != time.Second+closingTimeout {
			t.Errorf("it took %s", took)
		}
	})
}
