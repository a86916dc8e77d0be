package httpcred

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/talos-edge/talos-edge/core"
)

// DefaultPrefix is the prefix of the identity headers where none is configured. What a client sends under it is
// stripped in any case: an app, or a gate behind this one, may believe it.
const DefaultPrefix = "X-Talos-"

// identityHeader is an identity header without its prefix, and the field that names it.
type identityHeader struct{ field, name string }

// identityHeaders are in the order of texts.
var identityHeaders = [...]identityHeader{
	{"key_id", "Key-Id"}, {"actor", "Actor"}, {"scopes", "Scopes"}, {"network", "Network"}, {"metadata", "Metadata"},
}

// IdentityHeaders is how many identity headers there are at most.
const IdentityHeaders = len(identityHeaders)

// defaultFields are sent where no fields are named. Where there is one network, the app need not know it.
var defaultFields = []string{"key_id", "actor", "scopes", "metadata"}

// AllFields are the fields that an identity can have.
func AllFields() []string {
	all := make([]string, IdentityHeaders)
	for i, h := range identityHeaders {
		all[i] = h.field
	}
	return all
}

// Identity sets the headers that tell an app whose request it is. The zero value sets none.
type Identity struct {
	names [IdentityHeaders]string // in the order of identityHeaders; empty: not set
}

// NewIdentity makes the identity headers under a prefix, such as [DefaultPrefix], for fields: key_id, actor, scopes,
// metadata and network. Without fields it is the first four.
func NewIdentity(prefix string, fields ...string) (Identity, error) {
	var id Identity
	if len(fields) == 0 {
		fields = defaultFields
	}
	prefix, err := canonicalPrefix(prefix)
	if err != nil {
		return id, err
	}
	for i, field := range fields {
		at := slices.IndexFunc(identityHeaders[:], func(h identityHeader) bool { return h.field == field })
		switch {
		case at < 0:
			return Identity{}, fmt.Errorf("%q is none of key_id, actor, scopes, metadata and network", field)
		case slices.Contains(fields[:i], field):
			return Identity{}, fmt.Errorf("field %s is given twice", field)
		}
		id.names[at] = prefix + identityHeaders[at].name
	}
	return id, nil
}

// canonicalPrefix checks a prefix of identity headers, and returns its canonical form.
func canonicalPrefix(prefix string) (string, error) {
	prefix = textproto.CanonicalMIMEHeaderKey(prefix)
	if !httpguts.ValidHeaderFieldName(prefix) || !strings.HasSuffix(prefix, "-") || strings.HasPrefix(prefix, "-") {
		return "", fmt.Errorf("%q is not the beginning of a header's name up to a hyphen", prefix)
	}
	return prefix, nil
}

// Set sets the headers of a valid verdict. Empty ones are left out. A [Filter] with the same prefix has stripped what
// the client sent under these names.
func (id *Identity) Set(h http.Header, v *core.Verdict) { id.SetIn(h, v, new([IdentityHeaders]string)) }

// SetIn is [Identity.Set] with the memory of the values, which the header refers to from then on. Each request has its
// own: a handler may write to a header's values.
func (id *Identity) SetIn(h http.Header, v *core.Verdict, text *[IdentityHeaders]string) {
	*text = [...]string{v.KeyID, v.Identity.Actor, v.Identity.Scopes, v.Identity.Network, v.Identity.Metadata}
	for i, name := range id.names {
		if name != "" && text[i] != "" {
			h[name] = text[i : i+1 : i+1]
		}
	}
}
