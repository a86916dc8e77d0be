package usage

import (
	"strings"
	"sync"

	"github.com/talos-edge/talos-edge/core"
)

// MaxKeys is how many keys a [Recorder] notes at most. They take about 16 MiB.
const MaxKeys = 100_000

// Recorder holds the last use of each key since it was last drained. The zero Recorder is empty and ready. Its methods
// may be called from several goroutines.
type Recorder struct {
	mu   sync.Mutex
	last map[key]core.Use
}

// key names a key of all networks.
type key struct {
	network core.NetworkID
	id      string
}

// Record notes a use. The latest one of each key counts. Of a key that there is no room for, beyond [MaxKeys], the use
// is dropped.
func (r *Recorder) Record(u core.Use) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := key{u.Network, u.KeyID}
	before, known := r.last[k]
	switch {
	case known && !u.Time.After(before.Time):
		return
	case known:
		u.KeyID, k.id = before.KeyID, before.KeyID // an assignment stores the key of the map again, too
	case len(r.last) >= MaxKeys:
		return
	default:
		u.KeyID = strings.Clone(u.KeyID) // it may be a part of a verdict's text, which would stay in memory with it
		k.id = u.KeyID
	}
	if r.last == nil {
		r.last = make(map[key]core.Use)
	}
	r.last[k] = u
}

// Drain returns what is noted, in any order, and forgets it. A caller that cannot pass it on records it again.
func (r *Recorder) Drain() []core.Use {
	r.mu.Lock()
	last := r.last
	r.last = nil
	r.mu.Unlock()
	uses := make([]core.Use, 0, len(last))
	for _, u := range last {
		uses = append(uses, u)
	}
	return uses
}
