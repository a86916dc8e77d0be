package redact

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// redactedList replaces the values of a header that is a source.
var redactedList zapcore.ArrayMarshaler = caddyhttp.LoggableStringArray{redactedText}

// redactedEntry is the fields of an entry. As a field of its own it adds them to whatever encodes the entry, redacted.
type redactedEntry struct {
	object redactedObject
	fields []zapcore.Field
	alone  [1]zapcore.Field // the entry itself
}

func newRedactedEntry(fields []zapcore.Field, r *Redactor) *redactedEntry {
	e := &redactedEntry{object: redactedObject{redactor: r}, fields: fields}
	e.alone[0] = zap.Inline(e)
	return e
}

// MarshalLogObject encodes the fields.
func (e *redactedEntry) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	e.object.ObjectEncoder = enc
	for i := range e.fields {
		e.fields[i].AddTo(&e.object)
	}
	return nil
}

// redactedObject redacts what is added to an object. It is also the marshaler of that object: two in one, because there
// are several in each line of an access log.
type redactedObject struct {
	zapcore.ObjectEncoder
	redactor  *Redactor
	marshaler zapcore.ObjectMarshaler
}

// MarshalLogObject encodes the object.
func (o *redactedObject) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	o.ObjectEncoder = enc
	return o.marshaler.MarshalLogObject(o) //nolint:wrapcheck // a marshaler that wraps another is transparent
}

// AddString adds a text.
func (o *redactedObject) AddString(key, value string) {
	o.ObjectEncoder.AddString(key, o.redactor.Text(key, value))
}

// AddByteString adds a text.
func (o *redactedObject) AddByteString(key string, value []byte) { o.AddString(key, string(value)) }

// AddArray adds an array. Strings remain the type that Caddy's log filters know.
func (o *redactedObject) AddArray(key string, array zapcore.ArrayMarshaler) error {
	if o.redactor.isHeader(key) {
		array = redactedList
	} else if list, ok := array.(caddyhttp.LoggableStringArray); ok {
		if changed := o.redactor.list(key, list); changed != nil {
			array = caddyhttp.LoggableStringArray(changed)
		}
	} else {
		array = redactedArrayMarshaler{array, key, o.redactor}
	}
	return o.ObjectEncoder.AddArray(key, array) //nolint:wrapcheck // an encoder that wraps another is transparent
}

// AddObject adds an object.
func (o *redactedObject) AddObject(key string, object zapcore.ObjectMarshaler) error {
	if o.redactor.isHeader(key) {
		o.ObjectEncoder.AddString(key, redactedText)
		return nil
	}
	//nolint:wrapcheck // an encoder that wraps another is transparent
	return o.ObjectEncoder.AddObject(key, &redactedObject{marshaler: object, redactor: o.redactor})
}

// AddReflected adds any other value. It looks into headers only.
func (o *redactedObject) AddReflected(key string, value any) error {
	if header, ok := value.(http.Header); ok {
		return o.AddObject(key, caddyhttp.LoggableHTTPHeader{Header: header, ShouldLogCredentials: true})
	}
	if o.redactor.isHeader(key) {
		value = redactedText
	}
	return o.ObjectEncoder.AddReflected(key, value) //nolint:wrapcheck // an encoder that wraps another is transparent
}

// redactedArrayMarshaler is an array that is redacted as it is encoded.
type redactedArrayMarshaler struct {
	zapcore.ArrayMarshaler
	key      string
	redactor *Redactor
}

// MarshalLogArray encodes the array.
func (m redactedArrayMarshaler) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	//nolint:wrapcheck // a marshaler that wraps another is transparent
	return m.ArrayMarshaler.MarshalLogArray(&redactedArray{enc, m.key, m.redactor})
}

// redactedArray redacts what is appended to an array.
type redactedArray struct {
	zapcore.ArrayEncoder
	key      string
	redactor *Redactor
}

// AppendString appends a text.
func (a *redactedArray) AppendString(value string) {
	a.ArrayEncoder.AppendString(a.redactor.Text(a.key, value))
}

// AppendByteString appends a text.
func (a *redactedArray) AppendByteString(value []byte) { a.AppendString(string(value)) }

// AppendArray appends an array.
func (a *redactedArray) AppendArray(array zapcore.ArrayMarshaler) error {
	//nolint:wrapcheck // an encoder that wraps another is transparent
	return a.ArrayEncoder.AppendArray(redactedArrayMarshaler{array, a.key, a.redactor})
}

// AppendObject appends an object.
func (a *redactedArray) AppendObject(object zapcore.ObjectMarshaler) error {
	//nolint:wrapcheck // an encoder that wraps another is transparent
	return a.ArrayEncoder.AppendObject(&redactedObject{marshaler: object, redactor: a.redactor})
}
