package verify

import (
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// useSeconds is the time between two hits on an entry that are recorded, in seconds.
const useSeconds = uint32(core.UseInterval / time.Second)

// hit records a hit on a good entry, about once in [core.UseInterval]. It costs one atomic read, about 3 ns:
// go test ./core/verify -run '^$' -bench CountUse
func (v *Verifier) hit(e *entry, c *clock) {
	now := uint32(c.wall / int64(time.Second)) //nolint:gosec // only differences count
	if last := e.used.Load(); now-last > useSeconds && e.used.CompareAndSwap(last, now) {
		v.use(&e.verdict, c.now)
	}
}

// use records a verdict that a caller gets, if it is a valid one.
func (v *Verifier) use(verdict *core.Verdict, now time.Time) {
	if v.config.Used == nil || verdict.Code != core.CodeValid {
		return
	}
	if end := verdict.End(); !end.IsZero() && !now.Before(end) {
		return // a stale verdict may be served past the end of its key, and is refused
	}
	v.config.Used(core.Use{Network: verdict.Network, KeyID: verdict.KeyID, Time: now})
}
