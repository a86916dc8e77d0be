package verify

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// codes are the codes of results, or -1 for an error.
func codes(results []Result) []int {
	list := make([]int, len(results))
	for i, r := range results {
		if list[i] = -1; r.Err == nil {
			list[i] = int(r.Verdict.Code)
		}
	}
	return list
}

func TestABatchIsAnsweredInOrderWithOneLookUpForItsMisses(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a", "b", "c", "gone")
	source.revoke(networkA, "gone")
	v := newVerifier(t, Config{}, source)
	want(t, v, "key:a", core.CodeValid, Miss)
	want(t, v, "key:unknown", core.CodeNotFound, Miss)
	batch := []string{"key:b", "key:a", "forged", "key:gone", "key:b", "key:unknown", "key:c", "forged", "key:a"}
	results := v.VerifyMany(t.Context(), networkA, batch, Use)
	for i, w := range []struct {
		id     string
		code   core.Code
		status Status
	}{
		{"b", core.CodeValid, Miss}, {"a", core.CodeValid, Hit}, {"", core.CodeNotFound, Local},
		{"gone", core.CodeRevoked, Miss}, {"b", core.CodeValid, Coalesced}, {"unknown", core.CodeNotFound, Negative},
		{"c", core.CodeValid, Miss}, {"", core.CodeNotFound, Local}, {"a", core.CodeValid, Hit},
	} {
		r := results[i]
		if r.Err != nil || r.Now.IsZero() ||
			r.Verdict.KeyID != w.id || r.Verdict.Code != w.code || r.Cache != w.status {
			t.Errorf("item %d: got %+v of %+v, want %v", i, r, r.Verdict, w)
		}
	}
	if l, b, n := source.lookups.Load(), source.batches.Load(), source.items.Load(); l != 2 || b != 1 || n != 2+3 {
		t.Errorf("%d look-ups, %d batches, %d items, want 2, 1, 5", l, b, n)
	}
	v.written()
	for i, r := range v.VerifyMany(t.Context(), networkA, []string{"key:b", "key:c"}, Use) {
		if r.Cache != Hit {
			t.Errorf("item %d comes from %s afterwards", i, r.Cache)
		}
	}
	if n := len(v.VerifyMany(t.Context(), networkA, nil, Use)); n != 0 {
		t.Errorf("%d results for nothing", n)
	}
}

func TestAttack04_ABatchReplyOfAnotherShapeFailsClosed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func([]LookupResult) []LookupResult
		want  []int
	}{
		"short":      {func(r []LookupResult) []LookupResult { return r[:2] }, []int{-1, -1, -1}},
		"empty":      {func([]LookupResult) []LookupResult { return nil }, []int{-1, -1, -1}},
		"long":       {func(r []LookupResult) []LookupResult { return append(r, r[0]) }, []int{-1, -1, -1}},
		"reordered":  {func(r []LookupResult) []LookupResult { slices.Reverse(r); return r }, []int{-1, 0, -1}},
		"duplicated": {func(r []LookupResult) []LookupResult { r[1] = r[0]; return r }, []int{0, -1, 0}},
		"gap":        {func(r []LookupResult) []LookupResult { r[1] = LookupResult{}; return r }, []int{0, -1, 0}},
		"one failed": {func(r []LookupResult) []LookupResult { r[2].Err = errDown; return r }, []int{0, 0, -1}},
	} {
		source := newFakeSource("a", "b", "c")
		source.batch = c.spoil
		v := newVerifier(t, Config{}, source)
		results := v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:b", "key:c"}, Use)
		if got := codes(results); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
		for _, r := range results {
			if r.Err != nil && (core.ReasonOf(r.Err) != core.Unavailable || strings.Contains(r.Err.Error(), "key:")) {
				t.Errorf("%s: error %v", name, r.Err)
			}
		}
		source.set(func(s *fakeSource) { s.batch = nil })
		v.written()
		after := v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:b", "key:c"}, Use)
		if got := codes(after); !slices.Equal(got, []int{0, 0, 0}) {
			t.Errorf("%s left something wrong behind: %v", name, got)
		}
	}
}

func TestAttack08_AnOddCredentialFailsAloneInABatch(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a", "b")
	source.enter = func(_ context.Context, c string) error {
		if c == "key:odd" {
			return errDown
		}
		return nil
	}
	v := newVerifier(t, Config{}, source)
	batch := []string{"key:a", "key:odd", "key:" + strings.Repeat("x", 100_000), "", "key:b"}
	if got := codes(v.VerifyMany(t.Context(), networkA, batch, Use)); !slices.Equal(got, []int{0, -1, 1, 1, 0}) {
		t.Errorf("got %v", got)
	}
}

func TestABatchAndARequestShareLookUps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a", "b", "c")
		gate := make(chan struct{})
		source.enter = waitFor(gate)
		v := newVerifier(t, Config{}, source)
		var callers sync.WaitGroup
		one := func(c string, status Status) {
			callers.Go(func() {
				if r, err := v.Verify(t.Context(), networkA, c, Use); err != nil || r.Cache != status {
					t.Errorf("%s from %s, %v", c, r.Cache, err)
				}
			})
			synctest.Wait()
		}
		one("key:a", Miss)
		callers.Go(func() {
			rs := v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:b", "key:c"}, Use)
			if got := codes(rs); !slices.Equal(got, []int{0, 0, 0}) || rs[0].Cache != Coalesced || rs[1].Cache != Miss {
				t.Errorf("the batch got %v", rs)
			}
		})
		synctest.Wait()
		one("key:c", Coalesced)
		close(gate)
		callers.Wait()
		if n := source.items.Load(); n != 3 {
			t.Errorf("%d items were looked up, want 3", n)
		}
	})
}

func TestInABatchEachItemIsStaleOrUnavailableByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a", "b")
		v := newVerifier(t, Config{}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		time.Sleep(pastTTL)
		source.setFailure(errDown)
		for range 2 { // the second time the source is known to fail
			rs := v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:b"}, Use)
			if rs[0].Err != nil || rs[0].Cache != Stale || !errors.Is(rs[1].Err, errDown) {
				t.Errorf("got %v", rs)
			}
		}
	})
}

func TestACancelledBatchGivesWhatItHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("a", "b")
		v := newVerifier(t, Config{}, source)
		want(t, v, "key:a", core.CodeValid, Miss)
		gate := make(chan struct{})
		source.set(func(s *fakeSource) { s.enter = waitFor(gate) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		rs := v.VerifyMany(ctx, networkA, []string{"key:a", "key:b"}, Use)
		if rs[0].Err != nil || core.ReasonOf(rs[1].Err) != core.DeadlineExceeded {
			t.Errorf("got %v", rs)
		}
		close(gate)
	})
}
