package sqlstore

import "go.uber.org/zap"

// Health logs when something begins to fail and when it works again, and not each time in between. It is used by one
// goroutine.
type Health struct {
	Logger *zap.Logger
	What   string // is done: "writing to the database"

	failing bool
}

// Failed notes a failure.
func (h *Health) Failed(err error) {
	if !h.failing {
		h.failing = true
		h.Logger.Warn(h.What+" fails", zap.Error(err))
	}
}

// OK notes a success.
func (h *Health) OK() {
	if h.failing {
		h.failing = false
		h.Logger.Info(h.What + " works again")
	}
}
