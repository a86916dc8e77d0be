package upstream

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/outage"
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

// may reports whether it is time to speak of a kind.
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

// failed logs a call that failed at one address. What lasts is logged by outages.
func (l *throttledLog) failed(f *failure) {
	if f.result == ResultCanceled {
		return
	}
	level := zap.DebugLevel
	if f.result == ResultRejected && l.may(string(f.result)+" "+f.address) {
		level = zap.InfoLevel
	}
	if entry := l.logger.Check(level, "a call of the upstream failed"); entry != nil {
		entry.Write(
			zap.String("address", f.address), zap.String("result", string(f.result)), zap.Error(f.cause))
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

// outages log trouble with the upstream that lasts: when it begins and when it is over.
type outages struct {
	silent    *outage.Watch // it does not answer, or not in the API's words
	refusing  *outage.Watch // it refuses this node
	throttled *outage.Watch // it takes no more calls
}

func newOutages(c *Config) *outages {
	watch := func(w outage.Config) *outage.Watch {
		w.Logger, w.Counts = c.Logger, c.Counts
		return outage.New(w)
	}
	return &outages{
		silent: watch(outage.Config{
			Level: zap.ErrorLevel,
			Begins: "the upstream does not answer: keys that are in the cache are admitted until stale_if_error " +
				"after their lifetime there, and what has to be looked up is refused with 503",
			Ends:   "the upstream answers again",
			Fields: []zap.Field{zap.Duration("stale_if_error", c.StaleIfError)},
		}),
		refusing: watch(outage.Config{
			Level: zap.ErrorLevel,
			Begins: "the upstream refuses this node: what has to be looked up is refused with 503, and nothing stale " +
				"is served; check the upstream's address, and the header or certificate that this node sends",
			Ends: "the upstream accepts this node again",
		}),
		throttled: watch(outage.Config{
			Level: zap.WarnLevel,
			Begins: "the upstream answers 429: look-ups are spaced out, and those that would wait for too long are " +
				"refused with 503; raise the limit that the upstream has for this node",
			Ends: "the upstream does not answer 429 any more",
		}),
	}
}

// note takes in how a call ended at the last of the addresses that it was sent to; nil for one that succeeded. A call
// that was not sent, or was cut short, is no evidence.
func (o *outages) note(f *failure) {
	result := ResultOK
	if f != nil {
		result = f.result
	}
	switch result {
	case ResultOK, ResultRejected:
		o.silent.Worked()
		o.refusing.Worked()
		o.throttled.Worked()
	case ResultThrottled:
		o.silent.Worked()
		o.refusing.Worked()
		o.throttled.Failed(f)
	case ResultMisconfigured:
		o.silent.Worked()
		o.refusing.Failed(f)
	case ResultFailed, ResultGarbage, ResultTimeout, ResultUnreachable:
		o.silent.Failed(f)
	case ResultCanceled, ResultRefused:
	}
}

// active reports whether there is one.
func (o *outages) active() bool {
	return o.silent.Active() || o.refusing.Active() || o.throttled.Active()
}

func (o *outages) close() {
	o.silent.Close()
	o.refusing.Close()
	o.throttled.Close()
}

// newAddressWatch makes a watch over one address of several.
func newAddressWatch(logger *zap.Logger, address string) *outage.Watch {
	return outage.New(outage.Config{
		Logger: logger.With(zap.String("address", address)),
		Level:  zap.WarnLevel,
		Begins: "an address of the upstream fails: it is asked by probes only, and the others are asked in its place",
		Ends:   "the address of the upstream answers again",
	})
}

// Outage reports whether there is an outage of the upstream that has been logged.
func (u *Remote) Outage() bool { return u.outages.active() }
