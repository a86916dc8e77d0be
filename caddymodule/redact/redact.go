package redact

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"

	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
)

// Encoder is a log format that keeps credentials out of a log: it replaces what requests hold in the places that
// any gate of this process takes credentials from by `REDACTED`, and hands the entry to another format.
//
//   - A header that is a source, in any spelling that a backend might fold to it, is replaced as a whole, whatever its
//     scheme is and also when `log_credentials` is on.
//   - A query parameter that is a source is replaced in every text that holds a URL: the request's URI, a Referer, an
//     error message. Case does not matter, nor does percent-encoding, also repeated.
//   - A cookie that is a source is replaced in Cookie and Set-Cookie; the other cookies stay as they are.
//
// It learns the sources from the gates. A source stays redacted until the process ends, also when a reload has removed
// it: requests of the earlier configuration may still be under way.
//
// A handler cannot do this: Caddy copies a request for its logs before any handler sees it.
type Encoder struct {
	// WrappedRaw is the format that encodes the entries. Default: `console` if the output is a terminal, else `json`.
	WrappedRaw json.RawMessage `json:"wrap,omitempty" caddy:"namespace=caddy.logging.encoders inline_key=format"`

	zapcore.Encoder `json:"-"`

	isDefault bool // no format was chosen
}

// CaddyModule returns the Caddy module information.
func (*Encoder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.encoders.talos_redact",
		New: func() caddy.Module { return new(Encoder) },
	}
}

// Provision sets up the format that encodes the entries.
func (e *Encoder) Provision(ctx caddy.Context) error {
	if e.WrappedRaw == nil {
		e.isDefault = true
		standard := new(logging.JSONEncoder)
		e.Encoder = standard
		return standard.Provision(ctx) //nolint:wrapcheck // it does not fail
	}
	wrapped, err := ctx.LoadModule(e, "WrappedRaw")
	if err != nil {
		return fmt.Errorf("loading the wrapped format: %w", err)
	}
	encoder, ok := wrapped.(zapcore.Encoder)
	if !ok {
		return fmt.Errorf("the wrapped format %T is not an encoder", wrapped)
	}
	e.Encoder = encoder
	return nil
}

// ConfigureDefaultFormat makes `console` the format for a terminal if none was chosen; otherwise it passes the output
// on to the wrapped format.
func (e *Encoder) ConfigureDefaultFormat(output caddy.WriterOpener) error {
	if wrapped, ok := e.Encoder.(caddy.ConfiguresFormatterDefault); ok {
		return wrapped.ConfigureDefaultFormat(output) //nolint:wrapcheck // it is the wrapped format's own error
	}
	if !e.isDefault {
		return nil
	}
	// Of Caddy's wrapping formats, journald shows which default it chooses for an output.
	var chooser logging.JournaldEncoder
	console := new(logging.ConsoleEncoder)
	none := caddy.Context{} // these formats need none
	err := errors.Join(chooser.Provision(none), chooser.ConfigureDefaultFormat(output), console.Provision(none))
	if err != nil {
		return fmt.Errorf("choosing the format: %w", err)
	}
	if _, ok := chooser.Encoder.(*logging.ConsoleEncoder); ok {
		e.Encoder = console
	}
	return nil
}

// UnmarshalCaddyfile reads the format:
//
//	talos_redact [<format> [{...}]]
//
// or as Caddy's own wrapping formats are written:
//
//	talos_redact {
//		wrap <format> [{...}]
//	}
func (e *Encoder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	if d.NextArg() {
		return e.unmarshalWrapped(d)
	}
	for d.NextBlock(0) {
		if d.Val() != "wrap" {
			return directive.Unknown(d)
		}
		if e.WrappedRaw != nil {
			return d.Errf("duplicate option %q", d.Val())
		}
		if !d.NextArg() {
			return d.ArgErr()
		}
		if err := e.unmarshalWrapped(d); err != nil {
			return err
		}
	}
	return nil
}

// unmarshalWrapped reads the wrapped format, whose name is the current token.
func (e *Encoder) unmarshalWrapped(d *caddyfile.Dispenser) error {
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "caddy.logging.encoders."+name)
	if err != nil {
		return err //nolint:wrapcheck // it names file and line
	}
	encoder, ok := module.(zapcore.Encoder)
	if !ok {
		return d.Errf("%s (%T) is not an encoder", name, module)
	}
	e.WrappedRaw = caddyconfig.JSONModuleObject(encoder, "format", name, nil)
	return nil
}

// Clone returns an encoder with the same fields, to which others can be added.
func (e *Encoder) Clone() zapcore.Encoder { return &Encoder{Encoder: e.Encoder.Clone()} }

// EncodeEntry encodes an entry and its fields.
func (e *Encoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	r := known.redactor()
	entry.Message = r.Text("", entry.Message)
	fields = newRedactedEntry(fields, r).alone[:]
	return e.Encoder.EncodeEntry(entry, fields) //nolint:wrapcheck // an encoder that wraps another is transparent
}

// AddArray adds an array to every entry.
func (e *Encoder) AddArray(key string, array zapcore.ArrayMarshaler) error {
	return e.object().AddArray(key, array)
}

// AddObject adds an object to every entry.
func (e *Encoder) AddObject(key string, object zapcore.ObjectMarshaler) error {
	return e.object().AddObject(key, object)
}

// AddByteString adds a text to every entry.
func (e *Encoder) AddByteString(key string, value []byte) { e.object().AddByteString(key, value) }

// AddString adds a text to every entry.
func (e *Encoder) AddString(key, value string) { e.object().AddString(key, value) }

// AddReflected adds any other value to every entry.
func (e *Encoder) AddReflected(key string, value any) error {
	return e.object().AddReflected(key, value)
}

func (e *Encoder) object() *redactedObject {
	return &redactedObject{ObjectEncoder: e.Encoder, redactor: known.redactor()}
}

// Interface guards.
var (
	_ caddy.Provisioner                = (*Encoder)(nil)
	_ caddy.ConfiguresFormatterDefault = (*Encoder)(nil)
	_ caddyfile.Unmarshaler            = (*Encoder)(nil)
	_ zapcore.Encoder                  = (*Encoder)(nil)
)
