package gate

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
	"github.com/talos-edge/talos-edge/core"
)

var networkA, networkB = core.NetworkID{0xa}, core.NetworkID{0xb}

// verdictIn is a good verdict on a key of a network.
func verdictIn(network core.NetworkID) *core.Verdict {
	v := goodVerdict()
	v.Network, v.Identity.Network = network, network.String()
	return v
}

func TestGate_AsksInTheNetworkOfTheRequestOrInItsOwn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pin  string
		want core.NetworkID
	}{
		"of the request": {"", networkA},
		"its own":        {networkB.String(), networkB},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &fakeAuthority{
				network: networkA, ids: []core.NetworkID{networkA, networkB}, verdict: verdictIn(tc.want),
			}
			g := newTestGate(t, &Gate{Network: tc.pin}, a, nil)
			_, behind, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k")))
			if err != nil || behind == nil {
				t.Fatalf("the request did not pass: %v", err)
			}
			if a.in != tc.want {
				t.Errorf("asked in %s, want %s", a.in, tc.want)
			}
			if got := behind.Header.Get("X-Talos-Network"); got != tc.want.String() {
				t.Errorf("the app is told the network %q", got)
			}
		})
	}
}

func TestGate_ANetworkThatIsNotOneOfTheNodesIsRefused(t *testing.T) {
	t.Parallel()
	for pin, want := range map[string]string{
		networkB.String(): "is not the id of a network",
		"tenant1":         "is not a UUID",
	} {
		g := &Gate{Network: pin}
		err := g.setUp(&fakeAuthority{ids: []core.NetworkID{networkA}}, zap.NewNop())
		if err == nil || !strings.Contains(err.Error(), "network: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", pin, err)
		}
	}
}

// The network is part of the identity only where there is more than one.
func TestGate_OneNetworkIsNotNamedToTheApp(t *testing.T) {
	t.Parallel()
	g := newTestGate(t, new(Gate), &fakeAuthority{verdict: verdictIn(core.NetworkID{})}, nil)
	_, behind, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k")))
	if err != nil || behind == nil {
		t.Fatalf("the request did not pass: %v", err)
	}
	if got := behind.Header.Get("X-Talos-Network"); got != "" {
		t.Errorf("the app is told the network %q", got)
	}
}

// A host of no network is refused whatever the request shows, at an optional gate too, before any key is looked up.
func TestGate_AHostOfNoNetworkIs404(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]string{
		"a key":           {"Authorization: Bearer k"},
		"nothing":         nil,
		"two keys":        {"Authorization: Bearer k", "Authorization: Bearer l"},
		"no possible key": {"Authorization: Bearer \x00"},
	} {
		for _, optional := range []bool{false, true} {
			a := &fakeAuthority{unknown: networks.ErrUnknown, verdict: goodVerdict()}
			g := newTestGate(t, &Gate{Optional: optional}, a, nil)
			w, behind, err := through(t, g, inCaddy(requestWith(t, lines...)))
			answer := w.Body.String()
			if err != nil || behind != nil || w.Code != http.StatusNotFound || !strings.Contains(answer, "NOT_FOUND") {
				t.Errorf("%s, optional %t: %d %s (%v)", name, optional, w.Code, w.Body, err)
			}
			if a.asked > 0 {
				t.Errorf("%s: a credential was looked up", name)
			}
			if want := "refused unknown_host"; strings.Join(a.counted, ",") != want {
				t.Errorf("%s: counted %v, want %s", name, a.counted, want)
			}
		}
	}
}

// The networks of a database come and go.
func TestGate_PinnedToANetworkThatIsNotServedIs404(t *testing.T) {
	t.Parallel()
	a := &fakeAuthority{ids: []core.NetworkID{networkB}, gone: true, verdict: verdictIn(networkB)}
	logs, observed := observer.New(zapcore.InfoLevel)
	g := newTestGate(t, &Gate{Network: networkB.String()}, a, zap.New(logs))
	for range 2 {
		w, behind, err := through(t, g, inCaddy(requestWith(t, "Authorization: Bearer k")))
		if err != nil || behind != nil || w.Code != http.StatusNotFound || a.asked > 0 {
			t.Errorf("%d %s (%v), asked %d times", w.Code, w.Body, err, a.asked)
		}
	}
	entries := observed.All()
	if len(entries) != 1 || !strings.Contains(fmt.Sprint(entries[0].ContextMap()["error"]), networkB.String()) {
		t.Errorf("the log has %v, want one entry that names the network", entries)
	}
}

func TestGate_WithoutAnOpenNodeIs503(t *testing.T) {
	t.Parallel()
	a := &fakeAuthority{unknown: core.NewError(core.Unavailable, "the node is not open")}
	w, behind, err := through(t, newTestGate(t, new(Gate), a, nil), inCaddy(requestWith(t, "Authorization: Bearer k")))
	if err != nil || behind != nil || w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s (%v)", w.Code, w.Body, err)
	}
}

// A gate behind another one judges the verdict of the first. One of another network is none.
func TestGate_ASecondGateRefusesAKeyOfAnotherNetwork(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pin     string
		unknown error
		want    int
	}{
		"the same network":   {networkA.String(), nil, http.StatusOK},
		"another":            {networkB.String(), nil, http.StatusUnauthorized},
		"another host":       {"", nil, http.StatusUnauthorized},
		"a host of none":     {"", networks.ErrUnknown, http.StatusNotFound},
		"the node is closed": {"", errors.New("closed"), http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := &fakeAuthority{network: networkA, ids: []core.NetworkID{networkA}, verdict: verdictIn(networkA)}
			second := &fakeAuthority{network: networkB, unknown: tc.unknown, ids: []core.NetworkID{networkA, networkB}}
			outer := newTestGate(t, new(Gate), first, nil)
			inner := newTestGate(t, &Gate{Network: tc.pin}, second, nil)
			_, between, err := through(t, outer, inCaddy(requestWith(t, "Authorization: Bearer k")))
			if err != nil || between == nil {
				t.Fatalf("the first gate refuses: %v", err)
			}
			w, behind, err := through(t, inner, between)
			if err != nil || w.Code != tc.want || (behind != nil) != (tc.want == http.StatusOK) {
				t.Errorf("%d %s (%v), want %d", w.Code, w.Body, err, tc.want)
			}
			if second.asked > 0 {
				t.Error("the second gate looked the key up")
			}
		})
	}
}

func TestGate_AllFieldsOfTheIdentityAreNamed(t *testing.T) {
	t.Parallel()
	if _, err := httpcred.NewIdentity(httpcred.DefaultPrefix, httpcred.AllFields()...); err != nil {
		t.Error(err)
	}
}
