package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

const mib = 1 << 20

func TestTheFloorIsAQuarterOfTheMemoryLimitWithinBounds(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int64]uint64{
		math.MaxInt64: 0, // no limit is known
		0:             0,
		-1:            0,
		32 * mib:      0, // too small to matter
		64 * mib:      16 * mib,
		400 * mib:     100 * mib,
		1 << 30:       256 * mib,
		64 << 30:      256 * mib,
	} {
		if got := heapFloor(limit); got != want {
			t.Errorf("heapFloor(%d MiB) = %d MiB, want %d MiB", limit/mib, got/mib, want/mib)
		}
	}
}

func TestTheCollectorsTargetIsTheFloorAndAboveItTheUsualOne(t *testing.T) {
	t.Parallel()
	const floor = 256 * mib
	if got := gcPercent(floor, heap{}); got != usualPercent {
		t.Errorf("before the first collection: %d %%", got)
	}
	for live := uint64(mib); live <= 1024*mib; live += mib {
		for _, roots := range []uint64{0, 1 * mib, 64 * mib} {
			h := heap{live: live, roots: roots}
			percent := uint64(gcPercent(floor, h))
			target := live + (live+roots)*percent/100
			usual := live + (live + roots)
			if percent < usualPercent || percent > maxPercent {
				t.Fatalf("live %d MiB, roots %d MiB: %d %%", live/mib, roots/mib, percent)
			}
			if target > max(floor, usual) {
				t.Fatalf("live %d MiB, roots %d MiB: target %d MiB is above both the floor and the usual one",
					live/mib, roots/mib, target/mib)
			}
			if live < floor && percent < maxPercent && target < floor-(live+roots)/100-1 {
				t.Fatalf("live %d MiB, roots %d MiB: target %d MiB does not use the floor",
					live/mib, roots/mib, target/mib)
			}
		}
	}
}

// The test changes a setting of the process, so it is not parallel.
func TestTheTargetIsSetAnewAfterEachCollection(t *testing.T) { //nolint:paralleltest // see above
	before := debug.SetGCPercent(usualPercent)
	defer debug.SetGCPercent(before)
	calls := make(chan struct{}, 1)
	stop := make(chan struct{})
	defer close(stop)
	afterEachCollection(func() {
		select {
		case calls <- struct{}{}:
		case <-stop:
		}
	})
	<-calls // at once
	for range 3 {
		runtime.GC()
		<-calls
	}
	if h := readHeap(); h.live == 0 || h.roots == 0 {
		t.Errorf("the runtime does not tell the heap's size: %+v", h)
	}
}
