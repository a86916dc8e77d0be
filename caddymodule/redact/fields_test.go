package redact

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// TestRedactedFieldsOfAnyType is what no request of Caddy's own has, but a plugin's might.
func TestRedactedFieldsOfAnyType(t *testing.T) {
	t.Parallel()
	known.add(Names{Headers: []string{"X-Fields-Key"}, Queries: []string{"fields_key"}})
	var e Encoder
	if err := e.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	header := http.Header{"X-Fields-Key": {"KEY"}, "Referer": {"/?fields_key=KEY"}}
	const uri = "/?fields_key=KEY&a=1"
	object := zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
		enc.AddString("X-Fields-Key", "KEY")
		return enc.AddReflected("headers", header)
	})
	fields := []zapcore.Field{
		zap.String("x_fields_key", "KEY"), zap.String("uri", uri), zap.ByteString("bytes", []byte(uri)),
		zap.Strings("list", []string{"a", uri}), zap.ByteStrings("byte_list", [][]byte{[]byte(uri)}),
		zap.Object("object", object), zap.Objects("objects", []zapcore.ObjectMarshalerFunc{object}),
		zap.Any("header", header), zap.Any("X-Fields-Key", []string{"KEY"}), zap.Reflect("X-Fields-Key", []any{"KEY"}),
		zap.Object("X-Fields-Key", object), zap.Any("url", &url.URL{RawQuery: "fields_key=KEY"}),
		zap.Dict("dict", zap.String("uri", uri)),
		zap.NamedError("err", &url.Error{Op: "Get", URL: uri, Err: os.ErrClosed}),
		zap.Array("nested", nested{uri}), zap.Int("n", 1),
		zap.Namespace("rest"), zap.String("uri", uri),
	}
	with := e.Clone()
	for _, f := range fields {
		f.AddTo(with)
	}
	entry := zapcore.Entry{Message: "failed: " + uri}
	for _, encoder := range []zapcore.Encoder{&e, with} {
		line, err := encoder.EncodeEntry(entry, fields)
		if err != nil {
			t.Fatal(err)
		}
		text := line.String()
		if strings.Contains(text, "KEY") {
			t.Errorf("a credential is left: %s", text)
		}
		if strings.Count(text, "REDACTED") < len(fields)-2 || !strings.Contains(text, `"n":1`) {
			t.Errorf("too much is gone: %s", text)
		}
	}
}

// nested is an array of arrays.
type nested []string

func (n nested) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	return enc.AppendArray(zapcore.ArrayMarshalerFunc(func(enc zapcore.ArrayEncoder) error {
		for _, s := range n {
			enc.AppendString(s)
		}
		return nil
	}))
}
