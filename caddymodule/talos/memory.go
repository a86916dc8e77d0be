package main

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// maxFloor bounds the heap that the collector leaves alone. More brings little: the work that it costs falls with
	// the heap's size, and a gate with 20 MiB of live data at 256 MiB is collected a tenth as often as usual.
	maxFloor = 256 << 20
	// minFloor is the floor below which the usual rule is as good.
	minFloor = 16 << 20
	// usualPercent is Go's own GOGC. maxPercent bounds what is set in its place: it is reckoned from what was live at
	// the last collection, and a heap that is full of live data at the next one is allowed too much for a moment.
	usualPercent = 100
	maxPercent   = 1600
)

// tuneMemory lets the heap grow to a floor before it is collected. Go's usual rule collects whenever the heap has
// doubled; a proxy has little live data and makes much garbage, so it would collect many times a second, for a fifth of
// its CPU time. Above the floor the usual rule holds, and the memory limit holds always, so no more memory is at risk
// than without this: a process whose live data fits keeps fitting.
//
// GOGC, when it is set, has the last word. GOMEMLIMIT replaces the limit that is found.
func tuneMemory() {
	if os.Getenv("GOGC") != "" {
		return
	}
	limit, err := memlimit.Set(memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)))
	if err != nil {
		return
	}
	if floor := heapFloor(limit); floor > 0 {
		afterEachCollection(func() { debug.SetGCPercent(gcPercent(floor, readHeap())) })
	}
}

// heapFloor is the size in bytes to which the heap may grow before it is collected: a quarter of the memory limit, and
// no more than maxFloor. It is 0, for the usual rule, without a limit or with a small one.
func heapFloor(limit int64) uint64 {
	if limit <= 0 || limit == math.MaxInt64 {
		return 0
	}
	floor := min(uint64(limit)/4, maxFloor)
	if floor < minFloor {
		return 0
	}
	return floor
}

// heap is what the collector's target depends on, in bytes.
type heap struct {
	live  uint64 // objects that the last collection left
	roots uint64 // stacks and globals, which the target grows with too
}

// gcPercent is the GOGC with which the next collection ends at the floor, and the usual one where that is more. The
// runtime's target is live + (live + roots) · GOGC / 100.
func gcPercent(floor uint64, h heap) int {
	scanned := h.live + h.roots
	if scanned == 0 || h.live >= floor {
		return usualPercent
	}
	percent := (floor - h.live) * 100 / scanned
	return int(min(max(percent, usualPercent), maxPercent))
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/gc/scan/stack:bytes"},
		{Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(s)
	value := func(i int) uint64 {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0 // a runtime that does not tell
		}
		return s[i].Value.Uint64()
	}
	return heap{live: value(0), roots: value(1) + value(2)}
}

// afterEachCollection calls f now and soon after each collection, on the goroutine of the runtime that runs cleanups.
// An object that nothing refers to is cleaned up after the collection that finds it, and leaves the next one behind.
func afterEachCollection(f func()) {
	f()
	sentinel := new([16]byte) // not so small that it shares memory with other objects
	runtime.AddCleanup(sentinel, afterEachCollection, f)
}
