package adminapi

import (
	"net/http"
	"strings"

	"github.com/talos-edge/talos-edge/core"
)

// The paths of the API.
const (
	adminRoot      = "/v2alpha1/admin/"
	issuedPath     = adminRoot + "issuedApiKeys"
	importedPath   = adminRoot + "importedApiKeys"
	anyPath        = adminRoot + "apiKeys"
	selfRevokePath = "/v2alpha1/apiKeys:selfRevoke"
	jwksPath       = "/v2alpha1/derivedKeys/jwks.json"
	alivePath      = "/health/alive"
	readyPath      = "/health/ready"
	openAPIPath    = "/openapi.json"
)

// operation is one call of the API.
type operation uint8

const (
	noOperation operation = iota
	opIssue
	opListIssued
	opGetIssued
	opUpdateIssued
	opRotate
	opRevokeIssued
	opImport
	opBatchCreate
	opListImported
	opGetImported
	opUpdateImported
	opDeleteImported
	opRevokeImported
	opRevokeAny
	opVerify
	opBatchVerify
	opDerive
	opSelfRevoke
	opJWKS
	opOpenAPI
	opAlive
	opReady
	opPass // of a sidecar: whatever its upstream makes of it
	operations
)

// operationNames are the operations' names in logs.
var operationNames = [operations]string{
	noOperation:      "none",
	opIssue:          "issue",
	opListIssued:     "list issued",
	opGetIssued:      "get issued",
	opUpdateIssued:   "update issued",
	opRotate:         "rotate",
	opRevokeIssued:   "revoke",
	opImport:         "import",
	opBatchCreate:    "batch import",
	opListImported:   "list imported",
	opGetImported:    "get imported",
	opUpdateImported: "update imported",
	opDeleteImported: "delete",
	opRevokeImported: "revoke",
	opRevokeAny:      "revoke",
	opVerify:         "verify",
	opBatchVerify:    "batch verify",
	opDerive:         "derive",
	opSelfRevoke:     "self-revoke",
	opJWKS:           "jwks",
	opOpenAPI:        "openapi",
	opAlive:          "health",
	opReady:          "health",
	opPass:           "pass",
}

// String is the operation's name in logs.
func (o operation) String() string {
	if o < operations {
		return operationNames[o]
	}
	return operationNames[noOperation]
}

// changes tells whether a call may change keys.
func (o operation) changes() bool {
	switch o {
	case opIssue, opUpdateIssued, opRotate, opRevokeIssued, opImport, opBatchCreate, opUpdateImported, opDeleteImported,
		opRevokeImported, opRevokeAny, opSelfRevoke:
		return true
	default:
		return false
	}
}

// verbs are the operations of one path, by method. HEAD is the same as GET.
type verbs struct{ get, post, patch, remove operation }

// exist tells whether there is any.
func (v verbs) exist() bool { return v != verbs{} }

// of finds the operation of a request, and refuses a method that the path does not take.
func (v verbs) of(w http.ResponseWriter, method string) (operation, error) {
	op := noOperation
	switch method {
	case http.MethodGet, http.MethodHead:
		op = v.get
	case http.MethodPost:
		op = v.post
	case http.MethodPatch:
		op = v.patch
	case http.MethodDelete:
		op = v.remove
	}
	switch {
	case op != noOperation:
		return op, nil
	case !v.exist():
		return op, errNoPath()
	}
	var allowed []string
	if v.get != noOperation {
		allowed = append(allowed, http.MethodGet, http.MethodHead)
	}
	if v.post != noOperation {
		allowed = append(allowed, http.MethodPost)
	}
	if v.patch != noOperation {
		allowed = append(allowed, http.MethodPatch)
	}
	if v.remove != noOperation {
		allowed = append(allowed, http.MethodDelete)
	}
	list := strings.Join(allowed, ", ")
	w.Header().Set("Allow", list)
	return op, core.NewError(methodNotAllowed, "this path takes "+list)
}

// maxKeyID is the length of the longest key id, in bytes: hex SHA-512/256.
const maxKeyID = 64

// sharedRoute finds the operations that both surfaces have.
func sharedRoute(path string) verbs {
	switch path {
	case selfRevokePath:
		return verbs{post: opSelfRevoke}
	case jwksPath:
		return verbs{get: opJWKS}
	case alivePath:
		return verbs{get: opAlive}
	case readyPath:
		return verbs{get: opReady}
	default:
		return verbs{}
	}
}

// adminRoute finds the operations of a path on the private surface, and the key that they are about.
func adminRoute(path string) (on verbs, keyID string) {
	switch path {
	case anyPath + ":verify":
		return verbs{post: opVerify}, ""
	case anyPath + ":batchVerify":
		return verbs{post: opBatchVerify}, ""
	case anyPath + ":derive":
		return verbs{post: opDerive}, ""
	case issuedPath:
		return verbs{get: opListIssued, post: opIssue}, ""
	case importedPath:
		return verbs{get: opListImported, post: opImport}, ""
	case importedPath + ":batchCreate":
		return verbs{post: opBatchCreate}, ""
	case openAPIPath:
		return verbs{get: opOpenAPI}, ""
	}
	if rest, ok := strings.CutPrefix(path, issuedPath+"/"); ok {
		return keyRoute(rest, verbs{get: opGetIssued, patch: opUpdateIssued},
			issuedActions)
	}
	if rest, ok := strings.CutPrefix(path, importedPath+"/"); ok {
		return keyRoute(rest, verbs{get: opGetImported, patch: opUpdateImported, remove: opDeleteImported},
			importedActions)
	}
	if rest, ok := strings.CutPrefix(path, anyPath+"/"); ok {
		return keyRoute(rest, verbs{}, anyActions)
	}
	return sharedRoute(path), ""
}

// The actions on a key, by what stands behind the colon.
var (
	issuedActions   = map[string]operation{"revoke": opRevokeIssued, "rotate": opRotate}
	importedActions = map[string]operation{"revoke": opRevokeImported}
	anyActions      = map[string]operation{"revoke": opRevokeAny}
)

// keyRoute finds the operations of what follows a collection: a key id, alone or with one of some actions.
func keyRoute(rest string, alone verbs, actions map[string]operation) (on verbs, keyID string) {
	id, action, acts := strings.Cut(rest, ":")
	on = alone
	if acts {
		on = verbs{post: actions[action]}
	}
	if !isKeyID(id) || !on.exist() {
		return verbs{}, ""
	}
	return on, id
}

// isKeyID tells whether a text can be a key id: letters, digits and hyphens.
func isKeyID(id string) bool {
	if id == "" || len(id) > maxKeyID {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}

// plainPath is the path of a request, or nothing if it is spelled with escapes: the API's paths need none, and what is
// spelled in a second way could slip past a rule that knows the first.
func plainPath(r *http.Request) string {
	if r.URL.RawPath != "" || strings.Contains(r.URL.Path, "%") {
		return ""
	}
	return r.URL.Path
}

func errNoPath() error { return core.NewError(core.NotFound, "there is nothing at this path") }
