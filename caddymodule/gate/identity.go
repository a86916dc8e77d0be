package gate

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/adminapi/httpcred"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// identityVar is the request variable that holds the identity of a request that a gate has admitted. A configuration
// can set a variable of this name, but not one of this type.
const identityVar = "talos_gate.identity"

// userPrefix begins the placeholders of the caller's identity, which Caddy's own authentication uses too.
const userPrefix = "http.auth.user."

// identity is whose request it is, as the gate that admits it leaves it behind.
type identity struct {
	verdict *core.Verdict
	now     time.Time

	// credential is for a recheck. A gate further on finds none on the request.
	credential string
	cache      verify.Status // where the verdict came from

	// text is the one backing array of all header values that the gate sets on the request and the response. Each
	// request has its own: a handler behind the gate may write to a header's values.
	text [httpcred.IdentityHeaders + 1]string
}

// String tells nothing: variables of a request can be written to a log or a header, and this one holds the credential.
func (*identity) String() string { return "admitted" }

// admit puts the identity on an admitted request and returns the writer for its answer.
func (g *Gate) admit(
	w http.ResponseWriter, r *http.Request, vars map[string]any, p *identity, where httpcred.Where,
) http.ResponseWriter {
	_, told := vars[identityVar].(passed)
	vars[identityVar] = p
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.DeleteByPrefix(userPrefix) // of another authentication: two callers must not become one
		if told {
			repl.DeleteByPrefix(outcomePrefix)
		}
		repl.Map(p.placeholder)
	}
	g.tellAdmitted(r, vars, p)
	g.identify(r.Header, p)
	g.addVary(w.Header(), p)
	if g.reader.Unshared(where) {
		w = newCacheControlWriter(w)
	}
	return w
}

// admitAgain puts the identity on a request that an earlier gate admitted, under the names that this gate gives it.
func (g *Gate) admitAgain(w http.ResponseWriter, r *http.Request, earlier *identity) {
	p := &identity{verdict: earlier.verdict, now: earlier.now}
	g.identify(r.Header, p)
	g.addVary(w.Header(), p)
}

// identify sets the identity headers of the gate's fields. Their text was made header-safe with the verdict. Empty ones
// are left out.
func (g *Gate) identify(h http.Header, p *identity) {
	g.headers.SetIn(h, p.verdict, (*[httpcred.IdentityHeaders]string)(p.text[:]))
}

// addVary names the headers that the answer depends on. The identity, if there is one, lends the memory.
func (g *Gate) addVary(h http.Header, p *identity) {
	vary := g.reader.Vary()
	if vary == "" {
		return
	}
	before := h["Vary"]
	switch {
	case slices.Contains(before, vary):
	case len(before) > 0 || p == nil:
		h["Vary"] = append(slices.Clip(before), vary)
	default:
		last := len(p.text) - 1
		p.text[last] = vary
		h["Vary"] = p.text[last:]
	}
}

// placeholder is the value of {http.auth.user.*} and {http.talos.*}. The text is that of the identity headers, so that
// it can be in a header; values of metadata are as the key has them.
func (p *identity) placeholder(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, userPrefix)
	if !ok {
		return p.outcomePlaceholder(key)
	}
	v := p.verdict
	switch name {
	case "id":
		return v.KeyID, true
	case "actor":
		return v.Identity.Actor, true
	case "scopes":
		return v.Identity.Scopes, true
	case "network":
		return v.Identity.Network, true
	case "visibility":
		return visibilityName(v.Visibility), true
	case "credential_type":
		return credentialTypeName(v.Type), true
	}
	if field, ok := strings.CutPrefix(name, "metadata."); ok {
		return metadataField(v.Metadata, field), true
	}
	return nil, false
}

func visibilityName(v core.Visibility) string {
	switch v {
	case core.VisibilitySecret:
		return "secret"
	case core.VisibilityPublic:
		return "public"
	default:
		return "unknown"
	}
}

func credentialTypeName(t core.CredentialType) string {
	switch t {
	case core.IssuedKey:
		return "issued"
	case core.ImportedKey:
		return "imported"
	case core.DerivedJWT:
		return "jwt"
	case core.DerivedMacaroon:
		return "macaroon"
	default:
		return "unknown"
	}
}

// metadataField is one field of a JSON object as text: a string's text, any other value's JSON. A field that is not
// there, and null, are empty.
func metadataField(metadata json.RawMessage, field string) string {
	var object map[string]json.RawMessage
	if json.Unmarshal(metadata, &object) != nil {
		return ""
	}
	raw := bytes.TrimSpace(object[field])
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return ""
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}
