package main

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/core/verify"
)

// smallestCache is the smallest max_size.
const smallestCache = 4 << 20

// A zipf draws ranks from 0 to n-1, rank r with a weight of 1/(r+1)^s. Unlike the one of math/rand/v2 it takes s = 1.
type zipf struct{ below []float64 } // the share of the ranks up to this one

func newZipf(n int, s float64) zipf {
	z := zipf{below: make([]float64, n)}
	sum := 0.0
	for r := range n {
		sum += math.Pow(float64(r+1), -s)
		z.below[r] = sum
	}
	for r := range z.below {
		z.below[r] /= sum
	}
	return z
}

// rank is the rank at u, which is drawn evenly from [0, 1).
func (z zipf) rank(u float64) int {
	r, _ := slices.BinarySearch(z.below, u)
	return min(r, len(z.below)-1)
}

// trace draws the ranks of n requests, the same ones each time.
func (z zipf) trace(n int, seed uint64) []int32 {
	random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // load, not a secret
	trace := make([]int32, n)
	for i := range trace {
		trace[i] = int32(z.rank(random.Float64())) //nolint:gosec // fewer than 2^31 keys
	}
	return trace
}

// ceilings are what the best could reach on the second part of a trace, as shares of it: one who keeps the k keys that
// are asked for most and never another, and one who forgets nothing but has to see a key once.
func ceilings(first, second []int32, keys, k int) (static, unbounded float64) {
	seen := make([]bool, keys)
	for _, r := range first {
		seen[r] = true
	}
	var top, again int
	for _, r := range second {
		if int(r) < k {
			top++
		}
		if seen[r] {
			again++
		}
		seen[r] = true
	}
	n := float64(len(second))
	return float64(top) / n, float64(again) / n
}

// leastRecent is the share of hits that a plain LRU of k entries has on the second part of a trace.
func leastRecent(first, second []int32, k int) float64 {
	order := list.New() // of ranks, the latest first
	places := make(map[int32]*list.Element, k)
	hits := 0
	for i, trace := range [][]int32{first, second} {
		for _, r := range trace {
			if at, ok := places[r]; ok {
				order.MoveToFront(at)
				hits += i
				continue
			}
			if order.Len() >= k {
				oldest, _ := order.Remove(order.Back()).(int32)
				delete(places, oldest)
			}
			places[r] = order.PushFront(r)
		}
	}
	return float64(hits) / float64(len(second))
}

// A hitRow is one trace through one cache.
type hitRow struct {
	Skew      float64 `json:"zipf_s"`
	Keys      int     `json:"keys"`
	Requests  int     `json:"requests"`
	MaxSize   int64   `json:"max_size_bytes"`
	Room      int64   `json:"room_for_entries"`
	Hits      float64 `json:"hit_ratio"`
	LRU       float64 `json:"lru"`
	Static    float64 `json:"best_static"`
	Unbounded float64 `json:"unbounded"`
}

type hitRows struct {
	Rows []hitRow `json:"rows"`
}

func (*hitRows) title() string {
	return "hit ratio on Zipf traces, in process on the verifier; as many requests before it are not counted"
}

func (h *hitRows) table(line func(string, ...any)) {
	line("s\tkeys\trequests\tmax_size\troom for\tof the keys\thit ratio\tLRU\tbest static\tunbounded\t")
	for _, r := range h.Rows {
		line("%.1f\t%d\t%d\t%.1f MiB\t%d\t%.1f %%\t%.1f %%\t%.1f %%\t%.1f %%\t%.1f %%\t", r.Skew, r.Keys, r.Requests,
			float64(r.MaxSize)/(1<<20), r.Room, 100*float64(r.Room)/float64(r.Keys), 100*r.Hits, 100*r.LRU,
			100*r.Static, 100*r.Unbounded)
	}
	line("")
	line("LRU: simulated, of as many entries")
	line("best static: as many keys as there is room for, those that are asked for most, known beforehand")
	line("unbounded: a cache that forgets nothing, and has to see a key once; above it only foreknowledge gets")
	line("about 1 %%: the smallest cache there is, with a hundred times as many keys as it holds")
}

func (*hitRows) wrong() error { return nil }

// hits runs Zipf traces through caches that hold all keys, a tenth and a hundredth of them.
func (e *edgeBench) hits(ctx context.Context) (section, error) {
	found := &hitRows{}
	small, err := holds(ctx, smallestCache, 4*smallestCache/512)
	if err != nil {
		return nil, err
	}
	perKey := float64(smallestCache) / float64(small)
	for _, s := range []float64{1.0, 1.1} {
		n := e.sizes.traceKeys
		for _, of := range []struct {
			keys    int
			maxSize int64
		}{
			{n, max(int64(1.3*perKey*float64(n)), smallestCache)},
			{n, max(int64(0.1*perKey*float64(n)), smallestCache)},
			{min(100*int(small), 100*n), smallestCache},
		} {
			requests := of.keys * e.sizes.traceRequests / n
			e.say("%d requests over %d keys, s = %.1f, max_size %d", requests, of.keys, s, of.maxSize)
			room := small
			if of.maxSize > smallestCache {
				if room, err = holds(ctx, of.maxSize, of.keys); err != nil {
					return nil, err
				}
			}
			row, err := traced(ctx, s, of.keys, requests, of.maxSize, int(room), func() {})
			if err != nil {
				return nil, err
			}
			found.Rows = append(found.Rows, row)
		}
	}
	return found, nil
}

// holds is how many keys a cache holds when it has seen n.
func holds(ctx context.Context, maxSize int64, n int) (int64, error) {
	v, err := traceVerifier(maxSize)
	if err != nil {
		return 0, err
	}
	defer v.Close()
	for i := range n {
		if _, err := v.Verify(ctx, core.NetworkID{}, traceCredential(i), verify.Use); err != nil {
			return 0, err
		}
	}
	return settled(ctx, v)
}

// settled is how many entries a cache has when what was on its way has arrived.
func settled(ctx context.Context, v *verify.Verifier) (int64, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for last := int64(-1); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		now := v.Stats().Entries
		if now == last {
			return now, nil
		}
		last = now
	}
}

// traced runs a trace through a new cache with room for some entries, after one as long to begin with. It calls
// answered after each request.
func traced(
	ctx context.Context, s float64, keys, requests int, maxSize int64, room int, answered func(),
) (row hitRow, err error) {
	z := newZipf(keys, s)
	first, second := z.trace(requests, 1), z.trace(requests, 2)
	v, err := traceVerifier(maxSize)
	if err != nil {
		return row, err
	}
	defer v.Close()
	hits := 0
	for i, trace := range [][]int32{first, second} {
		for _, rank := range trace {
			r, err := v.Verify(ctx, core.NetworkID{}, traceCredential(int(rank)), verify.Use)
			if err != nil {
				return row, err
			}
			if i == 1 && r.Cache == verify.Hit {
				hits++
			}
			answered()
		}
	}
	row = hitRow{
		Skew: s, Keys: keys, Requests: requests, MaxSize: maxSize, Room: int64(room),
		Hits: float64(hits) / float64(requests), LRU: leastRecent(first, second, room),
	}
	row.Static, row.Unbounded = ceilings(first, second, keys, room)
	return row, nil
}

// traceVerifier is a verifier whose entries outlast a trace.
func traceVerifier(maxSize int64) (*verify.Verifier, error) {
	return verify.New(verify.Config{MaxBytes: maxSize, TTL: time.Hour}, new(traceSource))
}

// traceSource knows every key at once.
type traceSource struct{ positions feed.Positions }

const tracePrefix = "ory_ak_v1_"

// traceCredential is as long as a real one.
func traceCredential(rank int) string { return fmt.Sprintf("%s%0100d", tracePrefix, rank) }

// Positions is a table without a change.
func (s *traceSource) Positions() *feed.Positions { return &s.positions }

// Prepare finds the key's id in the credential.
func (*traceSource) Prepare(n core.NetworkID, credential string) (q verify.Query, final *core.Verdict) {
	digits, ok := strings.CutPrefix(credential, tracePrefix)
	rank, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil {
		return q, core.Unknown(n, "", core.UnknownCredentialType)
	}
	id := fmt.Sprintf("%08x-0000-4000-8000-000000000000", rank)
	return verify.Query{Network: n, Credential: credential, KeyID: id, Claim: core.Claim{Sure: true}}, nil
}

// Lookup answers as for keys with a few scopes and some metadata.
func (*traceSource) Lookup(_ context.Context, queries []verify.Query) ([]verify.LookupResult, error) {
	results := make([]verify.LookupResult, len(queries))
	for i, q := range queries {
		results[i].Verdict = core.NewVerdict(&core.Key{
			Network: q.Network, ID: q.KeyID, Kind: core.Issued, ActorID: "load",
			Scopes:   []string{"orders:read", "orders:write"},
			Metadata: []byte(`{"plan":"gold"}`), Visibility: core.VisibilitySecret, Status: core.StatusActive,
		}, "http://localhost", time.Now())
	}
	return results, nil
}

// Limits are the defaults.
func (*traceSource) Limits() verify.Limits { return verify.Limits{} }

// Admit lets every call go.
func (*traceSource) Admit() error { return nil }
