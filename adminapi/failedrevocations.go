package adminapi

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
)

// revocationPause is the least time between two log lines about failed self-revocations.
const revocationPause = time.Minute

// failedRevocations counts the failed self-revocations that are not logged yet.
type failedRevocations struct {
	mu     sync.Mutex
	untold int
	last   time.Time // when the last line was logged; zero: never
}

// add counts a failure, and returns how many are to be logged now.
func (f *failedRevocations) add() (told int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.untold++
	now := time.Now()
	if !f.last.IsZero() && now.Sub(f.last) < revocationPause {
		return 0
	}
	told, f.untold, f.last = f.untold, 0, now
	return told
}

// selfRevocationFailed counts a failed self-revocation. Anybody may cause one, so at most one line a minute is logged.
func (s *surface) selfRevocationFailed(r *http.Request, reason core.Reason) {
	s.SelfRevocationFailed(reason)
	if n := s.failed.add(); n > 0 {
		s.Audit.Warn("self-revocations fail", zap.Int("failed", n), zap.String("reason", string(reason)),
			zap.String("client_ip", addressName(s.ClientAddr(r))))
	}
}

// addressName is an address in the log.
func addressName(addr netip.Addr) string {
	if !addr.IsValid() {
		return "unknown"
	}
	return addr.String()
}
