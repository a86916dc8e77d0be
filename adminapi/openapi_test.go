package adminapi

import (
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
)

// document is what the tests read of openapi.json.
type document struct {
	Security   *[]any                             `json:"security"`
	Paths      map[string]map[string]docOperation `json:"paths"`
	Components struct {
		Parameters map[string]docParameter `json:"parameters"`
		Responses  map[string]docBody      `json:"responses"`
		Schemas    map[string]docSchema    `json:"schemas"`
	} `json:"components"`
}

type docOperation struct {
	ID          string             `json:"operationId"`
	Summary     string             `json:"summary"`
	Parameters  []docParameter     `json:"parameters"`
	RequestBody *docBody           `json:"requestBody"`
	Responses   map[string]docBody `json:"responses"`
}

type docParameter struct {
	Ref         string `json:"$ref"`
	Name        string `json:"name"`
	In          string `json:"in"`
	Description string `json:"description"`
}

type docBody struct {
	Ref         string `json:"$ref"`
	Description string `json:"description"`
	Content     map[string]struct {
		Schema docSchema `json:"schema"`
	} `json:"content"`
}

type docSchema struct {
	Ref         string               `json:"$ref"`
	AllOf       []docSchema          `json:"allOf"`
	Type        string               `json:"type"`
	Format      string               `json:"format"`
	Description string               `json:"description"`
	Items       *docSchema           `json:"items"`
	Properties  map[string]docSchema `json:"properties"`
	Required    []string             `json:"required"`
	Enum        []string             `json:"enum"`

	AdditionalProperties any `json:"additionalProperties"`
}

// name is a type as testdata/contract.json writes it.
func (s *docSchema) name() string {
	switch {
	case len(s.AllOf) == 1:
		return s.AllOf[0].name()
	case s.Ref != "":
		return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	case s.Type == "array":
		return "[]" + s.Items.name()
	case s.Format != "":
		return s.Type + ":" + s.Format
	default:
		return s.Type
	}
}

func (b *docBody) name() string {
	schema := b.Content["application/json"].Schema
	return schema.name()
}

// facts are what the contract says, without its prose.
type facts struct {
	Operations map[string]struct {
		ID         string   `json:"id"`
		Parameters []string `json:"parameters"`
		Request    string   `json:"request"` // a schema, or {the names of its fields}
		Response   string   `json:"response"`
	} `json:"operations"`
	Schemas map[string]map[string]string `json:"schemas"`
	Enums   map[string][]string          `json:"enums"`
}

func readDocument(t *testing.T) *document {
	t.Helper()
	d := apitest.Unmarshal[document](t, openAPIDocument)
	return &d
}

func readFacts(t *testing.T) *facts {
	t.Helper()
	b, err := os.ReadFile("testdata/contract.json")
	if err != nil {
		t.Fatal(err)
	}
	f := apitest.Unmarshal[facts](t, b)
	return &f
}

// ours are the operations that the contract does not have.
var ours = []string{
	"POST /v2alpha1/admin/apiKeys/{key_id}:revoke", "GET /health/alive", "GET /health/ready", "GET /openapi.json",
	"GET /v2alpha1/admin/events", "GET /v2alpha1/admin/events:watch", "GET /v2alpha1/admin/edges",
	"POST /v2alpha1/admin/edges:report",
	"POST /v2alpha1/admin/issuedApiKeys/{key_id}:suspend", "POST /v2alpha1/admin/issuedApiKeys/{key_id}:resume",
	"POST /v2alpha1/admin/importedApiKeys/{key_id}:suspend", "POST /v2alpha1/admin/importedApiKeys/{key_id}:resume",
	"POST /v2alpha1/admin/apiKeys/{key_id}:suspend", "POST /v2alpha1/admin/apiKeys/{key_id}:resume",
}

// ourParameters are the parameters that the contract's operations do not have.
var ourParameters = []string{"query lineage"}

// ourFields are the fields that the contract's types do not have.
var ourFields = []string{
	"VerifyApiKeyResponse.ip_restriction", "VerifyApiKeyResponse.lineage_id", "AdminRotateIssuedApiKeyBody.grace",
	"IssuedApiKey.suspend_time", "IssuedApiKey.predecessor_key_id", "IssuedApiKey.successor_key_id",
	"ImportedApiKey.suspend_time", "ImportedApiKey.predecessor_key_id", "ImportedApiKey.successor_key_id",
	"GetJWKSResponse.keys", "Status.status", "Any.reason", "Any.domain",
	"Any.metadata",
}

func (d *document) operations(f func(name string, o *docOperation)) {
	for path, methods := range d.Paths {
		for method, o := range methods {
			f(strings.ToUpper(method)+" "+path, &o)
		}
	}
}

func TestTheDocumentHasEveryCallOfTheContract(t *testing.T) {
	t.Parallel()
	d, want := readDocument(t), readFacts(t)
	seen := map[string]bool{}
	d.operations(func(name string, o *docOperation) {
		seen[name] = true
		w, known := want.Operations[name]
		if !known {
			if !slices.Contains(ours, name) {
				t.Errorf("%s is not in the contract", name)
			}
			return
		}
		var parameters []string
		for _, p := range o.Parameters {
			p = d.Components.Parameters[p.Ref[strings.LastIndexByte(p.Ref, '/')+1:]]
			if name := p.In + " " + p.Name; !slices.Contains(ourParameters, name) {
				parameters = append(parameters, name)
			}
		}
		request, response := "", o.Responses["200"]
		if o.RequestBody != nil {
			request = o.RequestBody.name()
		}
		if strings.HasPrefix(w.Request, "{") {
			fields := slices.Sorted(maps.Keys(d.Components.Schemas[request].Properties))
			request = "{" + strings.Join(fields, ",") + "}"
		}
		if o.ID != w.ID || !slices.Equal(parameters, w.Parameters) ||
			request != w.Request || response.name() != w.Response {
			t.Errorf("%s: got %s %q %s → %s\nwant %+v", name, o.ID, parameters, request, response.name(), w)
		}
	})
	for name := range want.Operations {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestTheDocumentHasEveryTypeOfTheContract(t *testing.T) {
	t.Parallel()
	d, want := readDocument(t), readFacts(t)
	for name, fields := range want.Schemas {
		s, known := d.Components.Schemas[name]
		if !known {
			t.Errorf("%s is missing", name)
			continue
		}
		for field, is := range fields {
			p, known := s.Properties[field]
			// What the contract calls an object without saying more may be one of ours.
			if got := p.name(); !known || got != is {
				t.Errorf("%s.%s: got %q, want %s", name, field, got, is)
			}
		}
		for field := range s.Properties {
			if _, known := fields[field]; !known && !slices.Contains(ourFields, name+"."+field) {
				t.Errorf("%s.%s is not in the contract", name, field)
			}
		}
	}
	for name, values := range want.Enums {
		if got := d.Components.Schemas[name].Enum; !slices.Equal(got, values) {
			t.Errorf("%s: got %q, want %q", name, got, values)
		}
	}
}

func TestTheDocumentAndTheRoutesAgree(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	reached := map[*Operation]string{}
	for path, methods := range d.Paths {
		route, keyID := Find(strings.Replace(path, "{key_id}", unknownUUID, 1))
		if (keyID == unknownUUID) != strings.Contains(path, "{key_id}") {
			t.Errorf("%s: the key is %q", path, keyID)
		}
		for _, method := range []string{"get", "post", "patch", "delete"} {
			op := route.Of(strings.ToUpper(method))
			if _, documented := methods[method]; documented != (op != nil) {
				t.Errorf("%s %s: documented %v, routed %v", method, path, documented, op != nil)
			}
			if op != nil && op.Path != path {
				t.Errorf("%s %s is routed to %s", method, path, op.Path)
			}
			if op != nil {
				reached[op] = path
			}
		}
		for method := range methods {
			if !slices.Contains([]string{"get", "post", "patch", "delete"}, method) {
				t.Errorf("%s %s: not a method that is routed", method, path)
			}
		}
	}
	for _, op := range operations {
		if _, ok := reached[op]; !ok {
			t.Errorf("%s %s is not documented", op.Method, op.Path)
		}
	}
}

func TestEveryPartOfTheDocumentIsDescribedAndUsed(t *testing.T) {
	t.Parallel()
	d := readDocument(t)
	text := string(openAPIDocument)
	if d.Security == nil || len(*d.Security) > 0 {
		t.Error("no call asks for a credential, and the document has to say so")
	}
	used := func(kind, name string) {
		if !strings.Contains(text, `"#/components/`+kind+`/`+name+`"`) {
			t.Errorf("%s %s is not used", kind, name)
		}
	}
	for name, s := range d.Components.Schemas {
		used("schemas", name)
		if s.Description == "" {
			t.Errorf("%s has no description", name)
		}
		for field, p := range s.Properties {
			if p.Description == "" && p.Ref == "" {
				t.Errorf("%s.%s has no description", name, field)
			}
		}
	}
	for name, p := range d.Components.Parameters {
		used("parameters", name)
		if p.Description == "" {
			t.Errorf("the parameter %s has no description", name)
		}
	}
	for name := range d.Components.Responses {
		used("responses", name)
	}
	for reference := range strings.SplitSeq(text, `"$ref": "#/components/`) {
		kind, rest, ok := strings.Cut(reference, "/")
		if !ok || len(kind) > len("parameters") {
			continue // the text before the first one
		}
		name, _, _ := strings.Cut(rest, `"`)
		_, schema := d.Components.Schemas[name]
		_, parameter := d.Components.Parameters[name]
		_, response := d.Components.Responses[name]
		if !schema && !parameter && !response {
			t.Errorf("#/components/%s/%s does not exist", kind, name)
		}
	}
	d.operations(func(name string, o *docOperation) {
		if o.Summary == "" || o.Responses["default"].Ref == "" || o.Responses["200"].Description == "" {
			t.Errorf("%s is not described", name)
		}
	})
}

func TestTheDocumentIsServedOnThePrivateSurfaceOnly(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	w := apitest.Get(n.admin, "/openapi.json")
	apitest.WantHeaders(t, w)
	if w.Code != http.StatusOK || w.Body.String() != string(openAPIDocument) {
		t.Errorf("got %d and %d bytes", w.Code, w.Body.Len())
	}
	if w := apitest.Get(n.publicHandler(), "/openapi.json"); w.Code != 299 {
		t.Errorf("the public surface answers %d, not the app behind it", w.Code)
	}
}
