package sqlite

import "go.uber.org/zap"

// health logs when something begins to fail and when it works again, and not each time in between. It is used by one
// goroutine.
type health struct {
	logger  *zap.Logger
	what    string
	failing bool
}

func (h *health) failed(err error) {
	if !h.failing {
		h.failing = true
		h.logger.Warn(h.what+" fails", zap.Error(err))
	}
}

func (h *health) ok() {
	if h.failing {
		h.failing = false
		h.logger.Info(h.what + " works again")
	}
}
