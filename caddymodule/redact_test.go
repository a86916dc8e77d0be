package caddymodule

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/talos-edge/talos-edge/core"
)

const takesFromEverywhere = `talos_gate {
	from header Authorization Bearer
	from header X-Api-Key
	from query api_key
	from cookie key
	KEEP
}
reverse_proxy BACKEND`

// redactConf logs requests in a format, with whatever Caddy would hide by itself, to default.log and access.log.
func redactConf(format, keep string) edgeConfig {
	return edgeConfig{
		Global: "servers {\nlog_credentials\nexpected_underscore_headers X_api_key\n}\n" +
			"log default {\nlevel DEBUG\noutput file FOLDER/default.log\n" + format + "\n}",
		Site: "log {\nlevel DEBUG\noutput file FOLDER/access.log\n" + format + "\n}\n" +
			// Before the gate: responses and errors that tell the URL.
			"header Location \"/login?to={uri}\"\n" +
			"handle /error/* {\nerror \"no answer for {uri}\" 500\n}\n" +
			"handle {\n" + strings.ReplaceAll(takesFromEverywhere, "KEEP", keep) + "\n}",
	}
}

// showEverywhere sends a key in each place in which the gate of takesFromEverywhere looks, and as it would not.
func (e *edge) showEverywhere(key string) {
	e.t.Helper()
	escaped := url.QueryEscape(key)
	twice := url.QueryEscape(url.QueryEscape("/a?api_key=" + key + "&b"))
	for _, path := range []string{"/", "/error/"} {
		e.get(path, "Authorization", "Bearer "+key)
		e.get(path, "X-Api-Key", key)
		e.get(path, "X_api_key", key)
		e.get(path, "X.api.key", key)
		e.get(path, "Cookie", "a=b; key="+key+"; c=d")
		e.get(path+"?a=1&api_key="+key+"&b=2", "Referer", "http://localhost/?api_key="+key)
		e.get(path+"?API%5fKEY="+escaped, "Referer", "http://localhost/?a=1&%61pi_key="+escaped)
		e.get(path + "?to=" + twice + "&b=2")
		e.get(path + "?a=1;api_key=" + key)
		e.get(path+"?api_key="+key, "X-Api-Key", key, "Authorization", "Basic "+key)
	}
}

// searchLogs looks for a key in the logs, in all forms in which it may be written, and for the marks that say that the
// requests are there.
func (e *edge) searchLogs(key string, marks map[string][]string) {
	e.t.Helper()
	for name, wanted := range marks {
		body, err := os.ReadFile(filepath.Join(e.folder, name))
		if err != nil {
			e.t.Fatal(err)
		}
		for _, mark := range wanted {
			if !strings.Contains(string(body), mark) {
				e.t.Errorf("%s has no %s, so not everything was searched", name, mark)
			}
		}
		for form, spelled := range spellings(key) {
			if at := strings.Index(string(body), spelled); at >= 0 {
				e.t.Errorf("%s has the key (%s): %.700s", name, form, body[max(0, at-400):])
				break
			}
		}
	}
}

// TestRedactedLogsShowNoCredential runs each format with the app up and down, with the credential stripped and kept.
func TestRedactedLogsShowNoCredential(t *testing.T) {
	for name, format := range map[string]string{
		"default":  "format talos_redact",
		"json":     "format talos_redact json",
		"console":  "format talos_redact console",
		"block":    "format talos_redact {\nwrap json {\ntime_format iso8601\n}\n}",
		"filter":   "format talos_redact filter {\nrequest>remote_port delete\n}",
		"filtered": "format filter {\nwrap talos_redact json\nrequest>remote_port delete\n}",
		"append":   "format append {\nwrap talos_redact\nsite a\n}",
		"journald": "format talos_redact journald",
	} {
		t.Run(name, func(t *testing.T) {
			e := startEdge(t, redactConf(format, ""))
			_, key := e.issue(core.IssueRequest{})
			e.showEverywhere(key)
			e.load(redactConf(format, "keep_credential"))
			e.showEverywhere(key)
			e.backend.server.Close()
			e.showEverywhere(key)
			if err := caddy.Stop(); err != nil {
				t.Fatal(err)
			}
			e.searchLogs(key, map[string][]string{
				"access.log":  {"handled request", "api_key=REDACTED", "a=b; key=REDACTED; c=d", "X_api_key", "/login?to="},
				"default.log": {"upstream roundtrip", "connection refused", "no answer for /error/", "api_key=REDACTED"},
			})
		})
	}
}

// TestSourceOfEarlierConfigurationStaysRedacted is about requests that a reload finds under way: they are logged when
// the gate that took their credential is gone.
func TestSourceOfEarlierConfigurationStaysRedacted(t *testing.T) {
	conf := redactConf("format talos_redact json", "")
	e := startEdge(t, conf)
	_, key := e.issue(core.IssueRequest{})
	conf.Site = "log {\noutput file FOLDER/access.log\nformat talos_redact json\n}\nrespond late"
	e.load(conf)
	e.showEverywhere(key)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	e.searchLogs(key, map[string][]string{"access.log": {"api_key=REDACTED", `"X-Api-Key":["REDACTED"]`}})
}

// TestRedactedFieldsOfAnyType is what no request of Caddy's own has, but a plugin's might.
func TestRedactedFieldsOfAnyType(t *testing.T) {
	t.Parallel()
	known.add([]Source{{Header: "X-Fields-Key"}, {Query: "fields_key"}})
	var e RedactEncoder
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
		zap.String("x_fields_key", "KEY"), zap.String("uri", uri), zap.ByteString("bytes", []byte(uri)), zap.Strings("list", []string{"a", uri}),
		zap.ByteStrings("byte_list", [][]byte{[]byte(uri)}), zap.Object("object", object), zap.Objects("objects", []zapcore.ObjectMarshalerFunc{object}),
		zap.Any("header", header), zap.Any("X-Fields-Key", []string{"KEY"}), zap.Reflect("X-Fields-Key", []any{"KEY"}),
		zap.Object("X-Fields-Key", object), zap.Any("url", &url.URL{RawQuery: "fields_key=KEY"}), zap.Dict("dict", zap.String("uri", uri)),
		zap.NamedError("err", &url.Error{Op: "Get", URL: uri, Err: os.ErrClosed}), zap.Array("nested", nested{uri}), zap.Int("n", 1),
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
		if strings.Contains(text, "KEY") || strings.Count(text, "REDACTED") < len(fields)-2 || !strings.Contains(text, `"n":1`) {
			t.Errorf("%s", text)
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
