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
)

// operation is one call of the API.
type operation uint8

const (
	noOperation operation = iota
	opIssue
	opGetIssued
	opRevokeIssued
	opRevokeAny
	opVerify
	opBatchVerify
	opSelfRevoke
	opJWKS
	opAlive
	opReady
	opPass // of a sidecar: whatever its upstream makes of it
)

// String is the operation's name in logs.
func (o operation) String() string {
	switch o {
	case opIssue:
		return "issue"
	case opGetIssued:
		return "get issued"
	case opRevokeIssued, opRevokeAny:
		return "revoke"
	case opVerify:
		return "verify"
	case opBatchVerify:
		return "batch verify"
	case opSelfRevoke:
		return "self-revoke"
	case opJWKS:
		return "jwks"
	case opAlive, opReady:
		return "health"
	case opPass:
		return "pass"
	default:
		return "none"
	}
}

// reads tells whether the operation is a GET; all others are a POST.
func (o operation) reads() bool {
	switch o {
	case opGetIssued, opJWKS, opAlive, opReady:
		return true
	default:
		return false
	}
}

// maxKeyID is the length of the longest key id, in bytes: hex SHA-512/256.
const maxKeyID = 64

// sharedRoute finds the operations that both surfaces have.
func sharedRoute(path string) operation {
	switch path {
	case selfRevokePath:
		return opSelfRevoke
	case jwksPath:
		return opJWKS
	case alivePath:
		return opAlive
	case readyPath:
		return opReady
	default:
		return noOperation
	}
}

// adminRoute finds the operation of a path on the private surface, and the key that it is about.
func adminRoute(path string) (op operation, keyID string) {
	switch path {
	case issuedPath:
		return opIssue, ""
	case anyPath + ":verify":
		return opVerify, ""
	case anyPath + ":batchVerify":
		return opBatchVerify, ""
	}
	if rest, ok := strings.CutPrefix(path, issuedPath+"/"); ok {
		if id, ok := strings.CutSuffix(rest, ":revoke"); ok {
			return withKeyID(opRevokeIssued, id)
		}
		return withKeyID(opGetIssued, rest)
	}
	if rest, ok := strings.CutPrefix(path, anyPath+"/"); ok {
		if id, ok := strings.CutSuffix(rest, ":revoke"); ok {
			return withKeyID(opRevokeAny, id)
		}
	}
	return sharedRoute(path), ""
}

// withKeyID is an operation on a key, unless the text cannot be a key id: letters, digits and hyphens.
func withKeyID(op operation, id string) (operation, string) {
	if id == "" || len(id) > maxKeyID {
		return noOperation, ""
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
			return noOperation, ""
		}
	}
	return op, id
}

// plainPath is the path of a request, or nothing if it is spelled with escapes: the API's paths need none, and what is
// spelled in a second way could slip past a rule that knows the first.
func plainPath(r *http.Request) string {
	if r.URL.RawPath != "" || strings.Contains(r.URL.Path, "%") {
		return ""
	}
	return r.URL.Path
}

// checkMethod refuses a method that an operation does not have.
func checkMethod(w http.ResponseWriter, r *http.Request, op operation) error {
	allowed := http.MethodPost
	switch {
	case !op.reads() && r.Method == http.MethodPost:
		return nil
	case op.reads() && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		return nil
	case op.reads():
		allowed = http.MethodGet + ", " + http.MethodHead
	}
	w.Header().Set("Allow", allowed)
	return core.NewError(methodNotAllowed, "this path takes "+allowed)
}

func errNoPath() error { return core.NewError(core.NotFound, "there is nothing at this path") }
