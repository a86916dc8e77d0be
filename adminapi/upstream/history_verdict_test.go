package upstream

import (
	"testing"
	"time"
)

// The judge of histories finds what breaks a promise, and nothing else. In each history a key is created from 1 s to
// 2 s and updated from 3 s to 5 s.
func TestAHistoryIsJudged(t *testing.T) {
	t.Parallel()
	const s = int64(time.Second)
	change := func(key, state string, call, returned int64) *operation {
		o := &operation{key: key, action: updates, state: state, effect: made, call: call * s, returned: returned * s}
		if state == "[v1]" {
			o.action = creates
		}
		return o
	}
	read := func(state, edge string, bound time.Duration, at int64) *operation {
		return &operation{
			key: "k", action: reads, state: state, edge: edge, bound: bound, call: at * s, returned: at*s + 1,
		}
	}
	const long = time.Hour
	for name, tc := range map[string]struct {
		further   []*operation
		confirmed bool // the edge has confirmed the update
		elsewhere bool // it has confirmed a change of another key, from 6 s to 7 s
		holds     bool
	}{
		"the node is up to date":      {[]*operation{read("[v2]", "", 0, 6)}, false, false, true},
		"the node is behind":          {[]*operation{read("[v1]", "", 0, 6)}, false, false, false},
		"the node is asked meanwhile": {[]*operation{read("[v1]", "", 0, 4)}, false, false, true},
		"the node goes back": {
			[]*operation{read("[v2]", "", 0, 3), read("[v1]", "", 0, 4)}, false, false, false,
		},
		"an edge is behind by less":      {[]*operation{read("[v1]", "e", 2*time.Second, 6)}, false, false, true},
		"an edge is behind by more":      {[]*operation{read("[v1]", "e", 2*time.Second, 8)}, false, false, false},
		"an edge goes back":              {[]*operation{read("[v1]", "e", long, 8)}, true, false, false},
		"another edge has not confirmed": {[]*operation{read("[v1]", "f", long, 8)}, true, false, true},
		"an edge is asked meanwhile":     {[]*operation{read("[v1]", "e", long, 4)}, true, false, true},
		"a later change is confirmed":    {[]*operation{read("[v1]", "e", long, 8)}, false, true, false},
		"and the edge was asked before":  {[]*operation{read("[v1]", "e", long, 6)}, false, true, true},
		"a state that was never":         {[]*operation{read("[v3]", "e", long, 8)}, false, false, false},
		"a change that is still under way": {
			[]*operation{change("k", "[v3]", 4, 9), read("[v3]", "", 0, 6), read("[v2]", "e", long, 7)},
			true, false, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &history{}
			h.add(change("k", "[v1]", 1, 2))
			by := map[bool][]string{true: {"e"}}
			h.add(change("k", "[v2]", 3, 5), by[tc.confirmed]...)
			h.add(change("other", "[v1]", 6, 7), by[tc.elsewhere]...)
			for _, o := range tc.further {
				h.add(o)
			}
			if wrong := h.judge(); (wrong == "") != tc.holds {
				t.Errorf("got %q", wrong)
			}
		})
	}
}

// A change whose caller got no answer was made, or was not: one of both.
func TestAHistoryWithAChangeOfUnknownEffectIsJudged(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		read  []string
		holds bool
	}{
		{[]string{"[v1]", "[v1]"}, true},
		{[]string{"[v1]", "[v2]"}, true},
		{[]string{"[v2]", "[v2]"}, true},
		{[]string{"[v2]", "[v1]"}, false},
	} {
		h := &history{}
		h.add(&operation{key: "k", action: creates, state: "[v1]", effect: made, call: 1, returned: 2})
		h.add(&operation{key: "k", action: updates, state: "[v2]", effect: unclear, call: 3, returned: 4})
		for i, state := range tc.read {
			at := int64(10 * (i + 1))
			h.add(&operation{key: "k", action: reads, state: state, call: at, returned: at + 1})
		}
		if wrong := h.judge(); (wrong == "") != tc.holds {
			t.Errorf("read %v: got %q", tc.read, wrong)
		}
	}
}
