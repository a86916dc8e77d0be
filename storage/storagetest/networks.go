package storagetest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// newNetwork is a network with its number in its id and hosts.
func newNetwork(i byte) core.Network {
	return core.Network{
		ID: core.NetworkID{15: i}, Hosts: []string{fmt.Sprintf("b%d.example", i), fmt.Sprintf("a%d.example", i)},
		Settings: json.RawMessage(`{"issuer":"https://a.example"}`), CreateTime: now, UpdateTime: now,
	}
}

func createNetwork(t *harness, s core.Store, n core.Network) {
	t.Helper()
	if err := s.CreateNetwork(t.Context(), n); err != nil {
		t.Fatalf("create network %s: %v", n.ID, err)
	}
}

func wantNetworks(t *harness, s core.Store, want ...core.Network) {
	t.Helper()
	got, err := s.Networks(t.Context())
	if err != nil || len(got) != len(want) {
		t.Fatalf("networks are %+v (%v), want %d", got, err, len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("network %d is\n %+v\nwant\n %+v", i, got[i], want[i])
		}
	}
}

var networkTests = []test{
	{"a database has no networks at first", func(t *harness) { wantNetworks(t, t.store()) }},
	{"a network reads back as it was given, in every store, and is a change that belongs to no network",
		func(t *harness) {
			a, b := t.store(), t.store()
			createNetwork(t, a, newNetwork(2))
			createNetwork(t, b, newNetwork(1))
			wantNetworks(t, a, newNetwork(1), newNetwork(2))
			wantNetworks(t, b, newNetwork(1), newNetwork(2))
			for _, s := range []core.Store{a, b} {
				eventually(t, "each store knows of both changes", func() bool {
					return s.Positions().Changed(feed.EventNetworkChanged) == 2
				})
			}
			for i, e := range events(t, a, 0, 10) {
				if e.Kind != feed.EventNetworkChanged || e.Network != core.SystemNetwork || e.Time != now ||
					e.KeyID != newNetwork(byte(2-i)).ID.String() {
					t.Errorf("event %d is %+v", i, e)
				}
			}
		}},
	{"an id or a host that is taken is a conflict, and nothing is changed", func(t *harness) {
		s := t.store()
		createNetwork(t, s, newNetwork(1))
		sameID, sameHost := newNetwork(2), newNetwork(2)
		sameID.ID = newNetwork(1).ID
		sameHost.Hosts[1] = newNetwork(1).Hosts[0]
		for _, n := range []core.Network{sameID, sameHost} {
			wantReason(t, s.CreateNetwork(t.Context(), n), core.Conflict)
		}
		wantNetworks(t, s, newNetwork(1))
		createNetwork(t, s, newNetwork(2))
		if s.Positions().Applied() != 2 {
			t.Errorf("the position is %d", s.Positions().Applied())
		}
	}},
	{"of many with a common host through two stores at once, one is created", func(t *harness) {
		stores := []core.Store{t.store(), t.store()}
		won := 0
		for _, err := range all(16, func(i int) error {
			n := newNetwork(byte(i))
			n.Hosts = append(n.Hosts, "common.example")
			return stores[i%2].CreateNetwork(t.Context(), n)
		}) {
			if err == nil {
				won++
				continue
			}
			wantReason(t, err, core.Conflict)
		}
		if won != 1 {
			t.Errorf("%d were created", won)
		}
	}},
	{"a network is suspended and resumed", func(t *harness) {
		s := t.store()
		createNetwork(t, s, newNetwork(1))
		want := newNetwork(1)
		for i, suspended := range []bool{true, true, false} {
			at := now.Add(time.Duration(i) * time.Second)
			if want.Suspended != suspended {
				want.Suspended, want.UpdateTime = suspended, at
			}
			got, err := s.SuspendNetwork(t.Context(), want.ID, suspended, at)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("it is %+v, %v", got, err)
			}
			wantNetworks(t, s, want)
		}
		if n := s.Positions().Applied(); n != 3 {
			t.Errorf("the position is %d: what changes nothing is no change", n)
		}
		_, err := s.SuspendNetwork(t.Context(), core.NetworkID{1}, true, now)
		wantReason(t, err, core.NotFound)
	}},
}
