package verify

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core"
)

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// fill asks for n different credentials that have no other memory than the cache's.
func fill(tb testing.TB, v *Verifier, n int) {
	tb.Helper()
	for i := range n {
		c := fmt.Sprintf("ory_ak_v1_0%036d%073d", i, 0)
		if _, err := v.Verify(tb.Context(), networkA, c, Use); err != nil {
			tb.Fatal(err)
		}
		if i%1000 == 0 {
			v.written()
		}
	}
	v.written()
}

// alone is for tests that measure the heap: they do not run in parallel, nor where it is not what it is in production.
func alone(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("the race detector changes what memory things take")
	}
}

func TestMemory_AVerdictTakesAtMostOneKibibyteAndIsAccountedFor(t *testing.T) {
	alone(t)
	sizes := []int{30_000, 58_000, 70_000, 100_000}
	if os.Getenv("TALOS_LONG") != "" {
		sizes = append(sizes, 1_000_000)
	}
	for _, n := range sizes {
		v := newVerifier(t, Config{MaxBytes: 1 << 30}, new(benchSource))
		before := heapInUse()
		fill(t, v, n)
		used := heapInUse() - before
		s := v.Stats()
		if s.Entries != int64(n) {
			t.Fatalf("%d entries, want %d", s.Entries, n)
		}
		perVerdict, accounted := used/int64(n), s.Bytes/int64(n)
		t.Logf("%d verdicts: %d bytes each, %d accounted", n, perVerdict, accounted)
		if perVerdict > 1024 {
			t.Errorf("a verdict takes %d bytes, want at most 1024", perVerdict)
		}
		if used > s.Bytes {
			t.Errorf("%d bytes are used, more than the %d accounted", used, s.Bytes)
		}
		runtime.KeepAlive(v)
		v.Close()
	}
}

func TestMemory_MaxBytesBoundsTheHeap(t *testing.T) {
	alone(t)
	const maxBytes = 16 << 20
	before := heapInUse()
	v := newVerifier(t, Config{MaxBytes: maxBytes}, new(benchSource))
	fill(t, v, 100_000)
	if used := heapInUse() - before; used > maxBytes {
		t.Errorf("%d bytes are used, want at most %d", used, maxBytes)
	} else if used < maxBytes/2 {
		t.Errorf("%d bytes are used: %d are given", used, maxBytes)
	}
	runtime.KeepAlive(v)
}

func TestAttack08_RandomCredentialsEvictNoGoodEntry(t *testing.T) {
	alone(t)
	source := newFakeSource(keyOf(1), keyOf(2))
	const maxBytes = 8 << 20
	v := newVerifier(t, Config{MaxBytes: maxBytes}, source)
	want(t, v, "key:"+keyOf(1), core.CodeValid, Miss)
	want(t, v, "key:"+keyOf(2), core.CodeValid, Miss)
	before := heapInUse()
	for i := range 50_000 {
		r, err := v.Verify(t.Context(), networkA, "key:"+strings.Repeat("x", 40)+keyOf(i), Use)
		if err != nil || r.Verdict.Code != core.CodeNotFound {
			t.Fatalf("got %v, %v", r.Verdict, err)
		}
		if i%1000 == 0 {
			v.written()
		}
	}
	v.written()
	if used := heapInUse() - before; used > maxBytes/4 {
		t.Errorf("the flood took %d bytes", used)
	}
	want(t, v, "key:"+keyOf(1), core.CodeValid, Hit)
	want(t, v, "key:"+keyOf(2), core.CodeValid, Hit)
}
