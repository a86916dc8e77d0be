package adminapi

import (
	"net/http"
	"strings"

	"github.com/talos-edge/talos-edge/core"
)

// Operation is one call of the API. A new one is a row in the table, a handler, its wire types, and openapi.json.
type Operation struct {
	Name    string // in logs
	Method  string // HEAD goes where GET does
	Path    string // {key_id} is the id of a key
	Changes Changes
	Message string // in the audit log when it has changed a key; required with Changes

	// Local says whether a sidecar answers it without its upstream: verifications, reports and what is not about keys.
	// Everything else is for its upstream.
	Local bool

	// Waits says whether it may take as long as its caller stays. It only reads.
	Waits bool

	handle    handler
	bodyLimit int64 // 0: maxBody
	alone     bool  // needs no network
	public    bool  // is on the public surface, too
	health    bool  // there only where health is turned on
}

// handler answers one operation. keyID is the one in the path, if there is one.
type handler func(s *surface, w http.ResponseWriter, r *http.Request, n Network, keyID string) error

// Changes says what an operation does to keys.
type Changes uint8

// What an operation may do to keys.
const (
	ChangesKey  Changes = 1 << iota // the one in the path, or of the credential
	CreatesKeys                     // the response names them
	ImportsKeys                     // the request names them
	GivesReason                     // the request may say why it revokes the key
)

// The paths of the API.
const (
	AdminRoot      = "/v2alpha1/admin/" // begins every path that manages keys
	issuedPath     = AdminRoot + "issuedApiKeys"
	importedPath   = AdminRoot + "importedApiKeys"
	anyPath        = AdminRoot + "apiKeys"
	eventsPath     = AdminRoot + "events"
	edgesPath      = AdminRoot + "edges"
	selfRevokePath = "/v2alpha1/apiKeys:selfRevoke"
	jwksPath       = "/v2alpha1/derivedKeys/jwks.json"
	alivePath      = "/health/alive"
	readyPath      = "/health/ready"
	openAPIPath    = "/openapi.json"

	inPath = "/{key_id}"
)

// The longest bodies that are read, in bytes.
const (
	maxBody           = 1 << 20
	maxBatchBody      = 16 << 20 // of an import of many keys
	maxSelfRevokeBody = 32 << 10
)

// operations are all calls of the API.
var operations = []*Operation{
	{
		Name: "issue", Method: "POST", Path: issuedPath, Changes: CreatesKeys, Message: "key issued",
		handle: issue,
	},
	{Name: "list issued", Method: "GET", Path: issuedPath, handle: ofKind(core.Issued, listKeys)},
	{Name: "get issued", Method: "GET", Path: issuedPath + inPath, handle: ofKind(core.Issued, getKey)},
	{
		Name: "update issued", Method: "PATCH", Path: issuedPath + inPath, Changes: ChangesKey,
		Message: "key updated", handle: ofKind(core.Issued, updateKey),
	},
	{
		Name: "rotate", Method: "POST", Path: issuedPath + inPath + ":rotate", Changes: ChangesKey | CreatesKeys,
		Message: "key rotated", handle: rotate,
	},
	{
		Name: "revoke", Method: "POST", Path: issuedPath + inPath + ":revoke", Changes: ChangesKey | GivesReason,
		Message: "key revoked", handle: ofKind(core.Issued, revoke),
	},
	{
		Name: "suspend", Method: "POST", Path: issuedPath + inPath + ":suspend", Changes: ChangesKey,
		Message: "key suspended", handle: ofKind(core.Issued, suspend),
	},
	{
		Name: "resume", Method: "POST", Path: issuedPath + inPath + ":resume", Changes: ChangesKey,
		Message: "key resumed", handle: ofKind(core.Issued, resume),
	},

	{
		Name: "import", Method: "POST", Path: importedPath, Changes: CreatesKeys | ImportsKeys,
		Message: "key imported", handle: importKey,
	},
	{
		Name: "batch import", Method: "POST", Path: importedPath + ":batchCreate", Changes: CreatesKeys | ImportsKeys,
		Message: "key imported", bodyLimit: maxBatchBody, handle: batchCreate,
	},
	{Name: "list imported", Method: "GET", Path: importedPath, handle: ofKind(core.Imported, listKeys)},
	{Name: "get imported", Method: "GET", Path: importedPath + inPath, handle: ofKind(core.Imported, getKey)},
	{
		Name: "update imported", Method: "PATCH", Path: importedPath + inPath, Changes: ChangesKey,
		Message: "key updated", handle: ofKind(core.Imported, updateKey),
	},
	{
		Name: "delete", Method: "DELETE", Path: importedPath + inPath, Changes: ChangesKey, Message: "key deleted",
		handle: deleteKey,
	},
	{
		Name: "revoke", Method: "POST", Path: importedPath + inPath + ":revoke", Changes: ChangesKey | GivesReason,
		Message: "key revoked", handle: ofKind(core.Imported, revoke),
	},
	{
		Name: "suspend", Method: "POST", Path: importedPath + inPath + ":suspend", Changes: ChangesKey,
		Message: "key suspended", handle: ofKind(core.Imported, suspend),
	},
	{
		Name: "resume", Method: "POST", Path: importedPath + inPath + ":resume", Changes: ChangesKey,
		Message: "key resumed", handle: ofKind(core.Imported, resume),
	},

	{
		Name: "revoke", Method: "POST", Path: anyPath + inPath + ":revoke", Changes: ChangesKey | GivesReason,
		Message: "key revoked", handle: ofKind(core.AnyKind, revoke),
	},
	{
		Name: "suspend", Method: "POST", Path: anyPath + inPath + ":suspend", Changes: ChangesKey,
		Message: "key suspended", handle: ofKind(core.AnyKind, suspend),
	},
	{
		Name: "resume", Method: "POST", Path: anyPath + inPath + ":resume", Changes: ChangesKey,
		Message: "key resumed", handle: ofKind(core.AnyKind, resume),
	},
	{Name: "verify", Method: "POST", Path: anyPath + ":verify", Local: true, handle: verifyKey},
	{Name: "batch verify", Method: "POST", Path: anyPath + ":batchVerify", Local: true, handle: batchVerify},
	{Name: "derive", Method: "POST", Path: anyPath + ":derive", handle: derive},

	{Name: "list events", Method: "GET", Path: eventsPath, Waits: true, handle: listEvents},
	{Name: "watch events", Method: "GET", Path: eventsPath + ":watch", Waits: true, handle: watchEvents},
	{Name: "list edges", Method: "GET", Path: edgesPath, handle: listEdges},
	{Name: "report uses", Method: "POST", Path: edgesPath + ":report", Local: true, handle: reportUses},

	{
		Name: "self-revoke", Method: "POST", Path: selfRevokePath, Changes: ChangesKey | GivesReason, Local: true,
		Message: "key revoked by its holder", bodyLimit: maxSelfRevokeBody, handle: selfRevoke, public: true,
	},
	{Name: "jwks", Method: "GET", Path: jwksPath, handle: jwks, public: true},
	{Name: "openapi", Method: "GET", Path: openAPIPath, Local: true, handle: openAPI, alone: true},
	{
		Name: "health", Method: "GET", Path: alivePath, Local: true,
		handle: alive, alone: true, public: true, health: true,
	},
	{
		Name: "health", Method: "GET", Path: readyPath, Local: true,
		handle: ready, alone: true, public: true, health: true,
	},
}

// ofKind makes a handler for one kind of key.
func ofKind(
	kind core.Kind,
	handle func(w http.ResponseWriter, r *http.Request, n Network, kind core.Kind, keyID string) error,
) handler {
	return func(_ *surface, w http.ResponseWriter, r *http.Request, n Network, keyID string) error {
		return handle(w, r, n, kind, keyID)
	}
}

// Route is one path with its operations.
type Route struct {
	operations []*Operation
}

// routes are the paths of the API, and of each collection the paths of its keys by what follows the key id.
var routes, keyRoutes = func() (plain map[string]*Route, keyed map[string]map[string]*Route) {
	plain, keyed = map[string]*Route{}, map[string]map[string]*Route{}
	for _, op := range operations {
		paths, path := plain, op.Path
		if collection, action, ok := strings.Cut(op.Path, inPath); ok {
			if keyed[collection] == nil {
				keyed[collection] = map[string]*Route{}
			}
			paths, path = keyed[collection], action
		}
		route := paths[path]
		if route == nil {
			route = new(Route)
			paths[path] = route
		}
		route.operations = append(route.operations, op)
	}
	return plain, keyed
}()

// methods are the route's methods, as in Allow.
func (t *Route) methods() string {
	var methods []string
	for _, method := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete,
	} {
		if t.Of(method) != nil {
			methods = append(methods, method)
		}
	}
	return strings.Join(methods, ", ")
}

// Find returns the route of a path, as it is spelled, and the key id in it; nil where there is nothing.
func Find(path string) (route *Route, keyID string) {
	if route, ok := routes[path]; ok {
		return route, ""
	}
	collection, id, action := cutKey(path)
	if !core.ValidKeyID(id) {
		return nil, ""
	}
	return keyRoutes[collection][action], id
}

// cutKey divides a path below a collection.
func cutKey(path string) (collection, keyID, action string) {
	at := strings.LastIndexByte(path, '/')
	if at < 0 {
		return "", "", ""
	}
	collection, keyID = path[:at], path[at+1:]
	if colon := strings.IndexByte(keyID, ':'); colon >= 0 {
		keyID, action = keyID[:colon], keyID[colon:]
	}
	return collection, keyID, action
}

// KeyInPath returns the id of the key that a path below one of the collections is about, whether there is such an
// operation or not. below reports whether the path is below one, also when what follows is no key id.
func KeyInPath(path string) (keyID string, below bool) {
	for collection := range keyRoutes {
		if rest, ok := strings.CutPrefix(path, collection+"/"); ok {
			id, _, _ := strings.Cut(rest, ":")
			id, _, _ = strings.Cut(id, "/")
			if !core.ValidKeyID(id) {
				return "", true
			}
			return id, true
		}
	}
	return "", false
}

// Of returns the operation of a method, nil where there is none.
func (t *Route) Of(method string) *Operation {
	if t == nil {
		return nil
	}
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, op := range t.operations {
		if op.Method == method {
			return op
		}
	}
	return nil
}

// Local reports whether a sidecar answers what comes to this path, see [Operation].
func (t *Route) Local() bool { return t != nil && t.operations[0].Local }

// MaxBody is the longest body that is read for an operation, in bytes; nil is one that the API does not have.
func (o *Operation) MaxBody() int64 {
	if o == nil || o.bodyLimit == 0 {
		return maxBody
	}
	return o.bodyLimit
}

// find finds the operation of a request. A path without one is not found; a method that it does not take is refused.
func (t *Route) find(w http.ResponseWriter, method string) (*Operation, error) {
	op := t.Of(method)
	switch {
	case op != nil:
		return op, nil
	case t == nil:
		return nil, NoPathError()
	}
	return nil, methodError(w, t.methods())
}

// methodError refuses a method that a path does not take. allow names those that it does.
func methodError(w http.ResponseWriter, allow string) error {
	w.Header().Set("Allow", allow)
	return core.NewError(MethodNotAllowed, "this path takes "+allow+" only")
}

// NoPathError refuses a path that the API does not have.
func NoPathError() error {
	return core.NewError(core.NotFound, "there is nothing at this path; check its spelling")
}

// PlainPath is the path of a request, or nothing if it is spelled with escapes: the API's paths need none, and what is
// spelled in a second way could slip past a rule that knows the first.
func PlainPath(r *http.Request) string {
	if r.URL.RawPath != "" || strings.Contains(r.URL.Path, "%") {
		return ""
	}
	return r.URL.Path
}
