package verify

import (
	"testing"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/talos-edge/talos-edge/core"
)

// The older verdict cannot be read when the newer no comes, because its write is not applied yet.
func TestAttack05_ALateGoodVerdictDoesNotOutlastANewerNo(t *testing.T) {
	t.Parallel()
	c, err := newCache(minBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	release := holdWrites(t, c.good)
	d := digest{1}
	c.put(&entry{digest: d, verdict: core.Verdict{Code: core.CodeValid}, position: 1}, true)
	if e := c.get(c.good, &d); e != nil {
		t.Fatalf("the write was applied at once: %v", e)
	}
	c.put(&entry{digest: d, verdict: *denied, position: 2}, false)
	release()
	if e := c.get(c.good, &d); e != nil {
		t.Errorf("position %d is in the cache of good verdicts", e.position)
	}
	if entries, bytes := c.good.size(); entries != 0 || bytes != 0 {
		t.Errorf("%d entries of %d bytes are counted", entries, bytes)
	}
}

// holdWrites gives an empty tier a cache that applies no write until release is called; when that returns, it has
// applied all that waited.
func holdWrites(t *testing.T, to *tier) (release func()) {
	t.Helper()
	const room = 1 << 20
	plug := new(entry)
	applying, released := make(chan struct{}), make(chan struct{})
	to.lfu.Close()
	var err error
	to.lfu, err = ristretto.NewCache(&ristretto.Config[uint64, *entry]{
		NumCounters:        1 << 10,
		MaxCost:            room,
		BufferItems:        64,
		KeyToHash:          func(key uint64) (uint64, uint64) { return key, 0 },
		IgnoreInternalCost: true,
		OnExit: func(e *entry) {
			if e == plug { // it is being refused, where writes are applied one after the other
				close(applying)
				<-released
				return
			}
			to.left(e)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	to.lfu.Set(0, plug, room+1)
	<-applying
	return func() {
		close(released)
		to.lfu.Wait()
	}
}
