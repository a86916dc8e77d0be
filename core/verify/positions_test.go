package verify

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

func TestAHitThatIsOlderThanAChangeOfItsKeyIsLookedUpAgain(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a")
	v := newVerifier(t, Config{}, source)
	want(t, v, "key:a", core.CodeValid, Miss)
	want(t, v, "key:a", core.CodeValid, Hit)
	source.revoke(networkA, "a")
	want(t, v, "key:a", core.CodeRevoked, Miss)
	want(t, v, "key:a", core.CodeRevoked, Negative)
}

func TestAttack05_RevocationDuringLookup(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]bool{"one": false, "batch": true} {
		synctest.Test(t, func(t *testing.T) {
			source := newFakeSource("a")
			gate := make(chan struct{})
			var first atomic.Bool
			source.leave = func(_ string, v *core.Verdict) (*core.Verdict, error) {
				if first.CompareAndSwap(false, true) {
					<-gate // the key was read as active, and the answer is under way
				}
				return v, nil
			}
			v := newVerifier(t, Config{}, source)
			var callers sync.WaitGroup
			request := func(who string) {
				callers.Go(func() {
					r, err := v.Verify(t.Context(), networkA, "key:a", Use)
					if batch {
						r = v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:b"}, Use)[0]
						err = r.Err
					}
					if err != nil || r.Verdict.Code != core.CodeRevoked {
						t.Errorf("%s, the request %s: got %v, %v", name, who, r.Verdict, err)
					}
				})
			}
			request("before the revocation")
			synctest.Wait()
			source.revoke(networkA, "a") // acknowledged
			request("after the revocation")
			synctest.Wait()
			close(gate)
			callers.Wait()
			v.written()
			want(t, v, "key:a", core.CodeRevoked, Negative)
		})
	}
}

func TestAttack05_AnOlderAnswerNeverReplacesANewer(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a")
	v := newVerifier(t, Config{}, source)
	d := v.hash.of(networkA, "key:a")
	slot := feed.SlotOf(networkA, "a")
	put := func(code core.Code, position uint64, actor string) {
		c := v.clock()
		verdict := &core.Verdict{Network: networkA, KeyID: "a", Code: code, ActorID: actor, Status: core.StatusActive}
		v.remember(d, &outcome{verdict: verdict, position: position, slot: slot}, &c)
		v.written()
	}
	put(core.CodeValid, 7, "new")
	put(core.CodeValid, 6, "old")
	if r := want(t, v, "key:a", core.CodeValid, Hit); r.Verdict.ActorID != "new" || r.Position != 7 {
		t.Errorf("got %s at %d", r.Verdict.ActorID, r.Position)
	}
	put(core.CodeRevoked, 6, "old")
	want(t, v, "key:a", core.CodeValid, Hit)
	put(core.CodeRevoked, 8, "newer")
	put(core.CodeValid, 7, "late")
	want(t, v, "key:a", core.CodeRevoked, Negative)
	put(core.CodeValid, 9, "again")
	want(t, v, "key:a", core.CodeValid, Hit)
	if s := v.Stats(); s.Entries != 1 {
		t.Errorf("%d entries, want 1", s.Entries)
	}
}

func TestAttack05_ALaggingNodeIsAskedTwiceAgain(t *testing.T) {
	t.Parallel()
	source := newFakeSource("a")
	source.create(networkA, "other")
	v := newVerifier(t, Config{}, source)
	source.revoke(networkA, "a") // position 3
	lag := uint64(2)
	source.leave = func(_ string, verdict *core.Verdict) (*core.Verdict, error) {
		stale := core.NewVerdict(&core.Key{
			Network: networkA, ID: verdict.KeyID, Kind: core.Issued, Status: core.StatusActive,
		}, "", v.base)
		stale.Position = lag
		return stale, nil
	}
	_ = wantUnavailable(t, v, "key:a")
	if n := source.lookups.Load(); n != attempts {
		t.Errorf("%d look-ups, want %d", n, attempts)
	}
	results := v.VerifyMany(t.Context(), networkA, []string{"key:a", "key:b"}, NoCache)
	if core.ReasonOf(results[0].Err) != core.Unavailable || results[1].Err != nil {
		t.Errorf("got %v and %v", results[0].Err, results[1].Err)
	}
	if results[1].Position != 2 {
		t.Errorf("position %d instead of the source's 2", results[1].Position)
	}
	if n := source.items.Load(); n != attempts+2+2 {
		t.Errorf("%d items: the good one of the batch was asked for again", n)
	}
	lag = 99 // a source cannot raise what was noted
	source.leave = nil
	if r := want(t, v, "key:a", core.CodeRevoked, Miss); r.Position != 3 {
		t.Errorf("position %d, want 3", r.Position)
	}
}

func TestAttack06_ANegativeEntryDoesNotBlockANewKey(t *testing.T) {
	t.Parallel()
	source := newFakeSource()
	v := newVerifier(t, Config{}, source)
	want(t, v, "key:a", core.CodeNotFound, Miss)
	want(t, v, "key:a", core.CodeNotFound, Negative)
	source.create(networkA, "a")
	want(t, v, "key:a", core.CodeValid, Miss)
	want(t, v, "key:a", core.CodeValid, Hit)
}

func TestAnEntryFollowsTheKeyThatItsVerdictNames(t *testing.T) {
	t.Parallel()
	source := &unsureSource{newFakeSource("a")}
	v := newVerifier(t, Config{}, source)
	want(t, v, "key:a", core.CodeValid, Miss)
	source.revoke(networkA, "a")
	want(t, v, "key:a", core.CodeRevoked, Miss)
}

// unsureSource cannot tell which key a credential belongs to.
type unsureSource struct{ *fakeSource }

func (s *unsureSource) Prepare(n core.NetworkID, credential string) (Query, *core.Verdict) {
	q, final := s.fakeSource.Prepare(n, credential)
	q.KeyID = ""
	return q, final
}

// No request that began after the revocation was acknowledged is admitted, and the others all get an answer: whatever
// mix of hits, misses, shared look-ups, refreshes and batches they meet.
func TestModel_NoRequestThatBeganAfterARevocationIsAdmitted(t *testing.T) {
	t.Parallel()
	const keys, workers = 60, 8
	source := newFakeSource()
	v := newVerifier(t, setup{Config{}, Limits{Calls: 3}}, source)
	ctx := context.Background()
	var revoked [keys]atomic.Bool
	stop := make(chan struct{})
	var all sync.WaitGroup
	judge := func(i int, was bool, r Result, err error) {
		if err != nil {
			t.Errorf("key %d: %v", i, err)
		} else if was && r.Verdict.Code != core.CodeRevoked {
			t.Errorf("key %d was revoked before: got code %d from %s", i, r.Verdict.Code, r.Cache)
		}
	}
	for w := range workers {
		all.Go(func() {
			for n := w; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				i := n % keys
				was := revoked[i].Load()
				if n%7 == 0 {
					j := (i + 1) % keys
					also := revoked[j].Load()
					rs := v.VerifyMany(ctx, networkA, []string{"key:" + keyOf(i), "key:" + keyOf(j)}, Use)
					judge(i, was, rs[0], rs[0].Err)
					judge(j, also, rs[1], rs[1].Err)
					continue
				}
				mode := Use
				if n%11 == 0 {
					mode = NoCache
				}
				r, err := v.Verify(ctx, networkA, "key:"+keyOf(i), mode)
				judge(i, was, r, err)
			}
		})
	}
	for i := range keys {
		source.create(networkA, keyOf(i))
	}
	for i := range keys {
		for range 3 { // let it be met in each state
			if _, err := v.Verify(ctx, networkA, "key:"+keyOf(i), Use); err != nil {
				t.Error(err)
			}
			v.written()
		}
		source.revoke(networkA, keyOf(i))
		revoked[i].Store(true)
		for range 3 {
			r, err := v.Verify(ctx, networkA, "key:"+keyOf(i), Use)
			judge(i, true, r, err)
			v.written()
		}
	}
	close(stop)
	all.Wait()
	if s := v.Stats(); s.Requests[Hit] == 0 || s.Requests[Negative] == 0 {
		t.Errorf("the caches were not met: %s", fmt.Sprint(s))
	}
}
