package logging

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Seldom returns a logger that writes each message at most once in ten seconds.
func Seldom(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, 10*time.Second, 1, 0)
	}))
}

// Current returns a logger that writes to whatever Caddy's default log is at the time. A pooled piece outlives the
// configuration that opened it, and with it the log that this one had configured.
func Current(name string) *zap.Logger {
	return zap.New(currentCore{}).Named(name)
}

// currentCore looks up the core of Caddy's default log for each entry.
type currentCore struct {
	fields []zapcore.Field
}

// Enabled asks the current log.
func (currentCore) Enabled(level zapcore.Level) bool { return caddy.Log().Core().Enabled(level) }

// With adds fields to the entries of any later log.
func (c currentCore) With(fields []zapcore.Field) zapcore.Core {
	return currentCore{append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check asks the current log.
func (c currentCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write writes to the current log.
func (c currentCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	core := caddy.Log().Core().With(c.fields)
	if checked := core.Check(entry, nil); checked == nil {
		return nil
	}
	return core.Write(entry, fields)
}

// Sync flushes the current log.
func (currentCore) Sync() error { return caddy.Log().Core().Sync() }
