package storagetest

import (
	"reflect"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// newNode is a process with an edge.
func newNode(id string) core.NodeState {
	return core.NodeState{
		Edge: feed.Edge{ID: id, Address: "192.0.2.1", Version: "v1.2.3", Position: 7, Seen: now},
		Edges: []feed.Edge{{
			ID: "edge", Instance: "x", Address: "192.0.2.2", Version: "v1", Via: "between", Position: 6, Seen: now,
		}},
	}
}

func saveNode(t *harness, s core.Store, n core.NodeState) {
	t.Helper()
	if err := s.SaveNode(t.Context(), n); err != nil {
		t.Fatalf("save node %s: %v", n.ID, err)
	}
}

func wantNodes(t *harness, s core.Store, want ...core.NodeState) {
	t.Helper()
	got, _, err := s.Nodes(t.Context())
	if err != nil || len(got) != len(want) {
		t.Fatalf("nodes are %+v (%v), want %d", got, err, len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("node %d is\n %+v\nwant\n %+v", i, got[i], want[i])
		}
	}
}

var nodeTests = []test{
	{"a database has no nodes at first", func(t *harness) {
		s := t.store()
		wantNodes(t, s)
		if _, awaited, err := s.Nodes(t.Context()); err != nil || awaited.After(now) {
			t.Errorf("somebody waits until %s, %v", awaited, err)
		}
	}},
	{"what a node has recorded is seen by every process", func(t *harness) {
		a, b := t.store(), t.store()
		saveNode(t, a, newNode("b"))
		saveNode(t, b, newNode("a"))
		wantNodes(t, a, newNode("a"), newNode("b"))
		wantNodes(t, b, newNode("a"), newNode("b"))
	}},
	{"a node's record replaces the one before", func(t *harness) {
		s := t.store()
		saveNode(t, s, newNode("a"))
		n := core.NodeState{Edge: feed.Edge{ID: "a", Position: 1, Seen: now.Add(time.Second)}}
		saveNode(t, s, n)
		wantNodes(t, s, n)
	}},
	{"a node's record can be removed", func(t *harness) {
		s := t.store()
		saveNode(t, s, newNode("a"))
		saveNode(t, s, newNode("b"))
		for range 2 {
			if err := s.RemoveNode(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		wantNodes(t, s, newNode("b"))
	}},
	{"a node that was not heard of for long is removed with the next record, unless it has ended", func(t *harness) {
		s := t.store()
		saveNode(t, s, newNode("old"))
		ended, fresh := newNode("ended"), newNode("fresh")
		ended.Seen, fresh.Seen = time.Unix(0, 0).UTC(), now.Add(24*time.Hour)
		saveNode(t, s, ended)
		saveNode(t, s, fresh)
		wantNodes(t, s, ended, fresh)
	}},
	{"who waits longest is waited for", func(t *harness) {
		s := t.store()
		for _, until := range []time.Time{now, now.Add(time.Second), now} {
			if err := s.AwaitNodes(t.Context(), until); err != nil {
				t.Fatal(err)
			}
		}
		if _, awaited, err := s.Nodes(t.Context()); err != nil || !awaited.Equal(now.Add(time.Second)) {
			t.Errorf("somebody waits until %s, %v", awaited, err)
		}
	}},
	{"none of that is a change", func(t *harness) {
		s := t.store()
		create(t, s, newKey(home, "a"))
		saveNode(t, s, newNode("a"))
		if err := s.AwaitNodes(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		if read := events(t, s, 0, core.MaxEvents); len(read) != 1 || s.Positions().Applied() != 1 {
			t.Errorf("the feed is %+v", read)
		}
	}},
}
