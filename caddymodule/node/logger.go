package node

import (
	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// currentLogger returns a logger that writes to whatever Caddy's default log is at the time. A pooled piece outlives
// the configuration that opened it, and with it the log that this one had configured.
func currentLogger(name string) *zap.Logger {
	return zap.New(currentCore{}).Named(name)
}

// currentCore finds the core for each entry.
type currentCore struct {
	fields []zapcore.Field
}

// Enabled asks the log of the moment.
func (currentCore) Enabled(level zapcore.Level) bool { return caddy.Log().Core().Enabled(level) }

// With keeps fields for whatever log there will be.
func (c currentCore) With(fields []zapcore.Field) zapcore.Core {
	return currentCore{append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check asks the log of the moment.
func (c currentCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write writes to the log of the moment.
func (c currentCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	core := caddy.Log().Core().With(c.fields)
	if checked := core.Check(entry, nil); checked == nil {
		return nil
	}
	return core.Write(entry, fields)
}

// Sync flushes the log of the moment.
func (currentCore) Sync() error { return caddy.Log().Core().Sync() }
