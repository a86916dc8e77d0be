package gate

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

const (
	// outcomeField is the object in an access log that says what a gate did with the request.
	outcomeField = "talos"

	// outcomePrefix begins the placeholders that say the same. The attributes of a trace span begin with the field's
	// name.
	outcomePrefix = "http.talos."

	// traceVar is the request variable that Caddy's `tracing` sets.
	traceVar = "trace_id"
)

// outcome is what a gate did with a request and why, as the operator reads it: in the access log, by placeholders and
// on the trace span. Where several gates see a request, the last decision counts.
type outcome struct {
	decision decision
	reason   reason
	keyID    string // of a key that exists, or empty
	cache    string // where the verdict came from, or empty if nothing was looked up
}

// passed is the value of identityVar on a request that an optional gate let pass without a credential.
type passed struct{}

// keyIDOf is the id of the key that a verdict is about. That of a credential that is no key is a hash of whatever was
// sent, and is left out.
func keyIDOf(v *core.Verdict) string {
	if v == nil || v.Status == core.StatusUnknown {
		return ""
	}
	return v.KeyID
}

// cacheOf is where a verdict came from. A credential that is refused without a look-up came from nowhere.
func cacheOf(v *core.Verdict, s verify.Status) string {
	if v == nil || s == verify.Local {
		return ""
	}
	return s.String()
}

// outcome is that of an admitted request.
func (p *identity) outcome() outcome {
	return outcome{decisionAdmitted, reasonOK, keyIDOf(p.verdict), cacheOf(p.verdict, p.cache)}
}

// outcome is that of a request that was not admitted.
func (d *decided) outcome() outcome {
	o := outcome{decisionRefused, d.reason, keyIDOf(d.verdict), cacheOf(d.verdict, d.cache)}
	if d.reason == reasonUnavailable {
		o.decision = decisionUnavailable
	}
	return o
}

// field is the value of a field by its name in placeholders.
func (o *outcome) field(name string) (value string, ok bool) {
	switch name {
	case "decision":
		return decisionNames[o.decision], true
	case "reason":
		return reasonNames[o.reason], true
	case "key_id":
		return o.keyID, true
	case "cache":
		return o.cache, true
	default:
		return "", false
	}
}

// outcomeFields are the names of the fields.
var outcomeFields = [...]string{"decision", "reason", "key_id", "cache"}

// MarshalLogObject encodes the fields that are not empty.
func (o *outcome) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	for _, name := range outcomeFields {
		if value, _ := o.field(name); value != "" {
			enc.AddString(name, value)
		}
	}
	return nil
}

// MarshalLogObject encodes the outcome of an admitted request, which is not made before a log line needs it.
func (p *identity) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	o := p.outcome()
	return o.MarshalLogObject(enc)
}

// outcomePlaceholder is the value of {http.talos.*}.
func (p *identity) outcomePlaceholder(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, outcomePrefix)
	if !ok {
		return nil, false
	}
	o := p.outcome()
	value, ok := o.field(name)
	return value, ok
}

// tellAdmitted records an admitted request. The placeholders are those of the identity. Nothing is paid for a log
// or a trace that does not exist.
func (g *Gate) tellAdmitted(r *http.Request, vars map[string]any, p *identity) {
	if g.logged {
		logOutcome(r, p)
	}
	if _, traced := vars[traceVar]; traced {
		o := p.outcome()
		traceOutcome(r, &o)
	}
}

// tell records any other outcome, also one that replaces an earlier one.
func (g *Gate) tell(r *http.Request, o *outcome) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		for _, name := range outcomeFields {
			value, _ := o.field(name)
			repl.Set(outcomePrefix+name, value)
		}
	}
	if g.logged {
		logOutcome(r, o)
	}
	traceOutcome(r, o)
}

// logOutcome adds an outcome to the access log's line of a request.
func logOutcome(r *http.Request, o zapcore.ObjectMarshaler) {
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.Object(outcomeField, o))
	}
}

// traceOutcome adds an outcome to the span of a request that is traced.
func traceOutcome(r *http.Request, o *outcome) {
	span := trace.SpanFromContext(r.Context())
	if !span.IsRecording() {
		return
	}
	for _, name := range outcomeFields {
		if value, _ := o.field(name); value != "" {
			span.SetAttributes(attribute.String(outcomeField+"."+name, value))
		}
	}
}
