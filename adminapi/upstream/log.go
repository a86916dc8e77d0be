package upstream

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// logPause is how long the log is silent about trouble of a kind that it has told of.
const logPause = 10 * time.Second

// throttledLog writes to the log, each kind of trouble once in a while. Kinds are few.
type throttledLog struct {
	logger *zap.Logger

	mu   sync.Mutex
	last map[string]time.Time
}

func newThrottledLog(logger *zap.Logger) *throttledLog {
	return &throttledLog{logger: logger, last: make(map[string]time.Time)}
}

// may tells whether it is time to speak of a kind.
func (l *throttledLog) may(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last, logged := l.last[kind]; logged && now.Sub(last) < logPause {
		return false
	}
	l.last[kind] = now
	return true
}

// failed tells of a call that failed. That this node is refused is for somebody to mend, and louder than the rest.
func (l *throttledLog) failed(f *failure) {
	if f.result == ResultCanceled || !l.may(string(f.result)+" "+f.address) {
		return
	}
	fields := []zap.Field{zap.String("address", f.address), zap.String("result", string(f.result)), zap.Error(f.cause)}
	switch f.result {
	case ResultMisconfigured:
		l.logger.Error("the upstream refuses this node: nothing can be verified, and nothing remembered is served "+
			"in its place; check the upstream's address and header", fields...)
	case ResultRejected:
		l.logger.Info("the upstream rejects what it was asked", fields...)
	default:
		l.logger.Warn("the upstream fails", fields...)
	}
}

// keyMismatch tells of an answer about another key than was asked for.
func (l *throttledLog) keyMismatch() {
	if l.may("key mismatch") {
		l.logger.Error("the upstream names another key than the credential would have, so the answer is not " +
			"used; check that key_prefix and the network's id are those of the upstream")
	}
}

// misplaced tells of a reply in which something is not where it belongs.
func (l *throttledLog) misplaced() {
	if l.may("misplaced") {
		l.logger.Warn("a reply of the upstream names another key than was asked for in its place; asking again in " +
			"smaller batches")
	}
}

// noAddressList tells of a token whose list of addresses cannot be known.
func (l *throttledLog) noAddressList() {
	if l.may("noAddressList") {
		l.logger.Error("the upstream does not tell which addresses a derived token may be used from, so it is not " +
			"admitted; if no key there has such a list, say `ip_lists none`")
	}
}
