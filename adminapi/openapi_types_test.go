package adminapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// wireTypes are the types that the schemas are read into and written from.
var wireTypes = map[string]reflect.Type{
	"AdminRevokeApiKeyBody":              reflect.TypeFor[client.RevokeRequest](),
	"AdminRevokeImportedApiKeyBody":      reflect.TypeFor[client.RevokeRequest](),
	"AdminRevokeIssuedApiKeyBody":        reflect.TypeFor[client.RevokeRequest](),
	"AdminRotateIssuedApiKeyBody":        reflect.TypeFor[client.RotateRequest](),
	"Any":                                reflect.TypeFor[client.ErrorDetail](),
	"BatchCreateImportedApiKeysRequest":  reflect.TypeFor[client.BatchCreateRequest](),
	"BatchCreateImportedApiKeysResponse": reflect.TypeFor[client.BatchCreateResponse](),
	"BatchCreateImportedApiKeysResult":   reflect.TypeFor[client.BatchCreateResult](),
	"BatchVerifyApiKeysRequest":          reflect.TypeFor[client.BatchVerifyRequest](),
	"BatchVerifyApiKeysResponse":         reflect.TypeFor[client.BatchVerifyResponse](),
	"Caller":                             reflect.TypeFor[client.Caller](),
	"DeriveTokenRequest":                 reflect.TypeFor[client.DeriveRequest](),
	"DeriveTokenResponse":                reflect.TypeFor[client.DeriveResponse](),
	"ErrorResponse":                      reflect.TypeFor[client.ErrorResponse](),
	"Event":                              reflect.TypeFor[client.Event](),
	"EventMetadata":                      reflect.TypeFor[client.EventMetadata](),
	"GetJWKSResponse":                    reflect.TypeFor[client.JWKS](),
	"HealthStatus":                       reflect.TypeFor[client.Health](),
	"IPRestriction":                      reflect.TypeFor[client.IPRestriction](),
	"ImportApiKeyRequest":                reflect.TypeFor[client.ImportRequest](),
	"ImportedApiKey":                     reflect.TypeFor[client.ImportedAPIKey](),
	"IssueApiKeyRequest":                 reflect.TypeFor[client.IssueRequest](),
	"IssueApiKeyResponse":                reflect.TypeFor[client.IssueResponse](),
	"IssuedApiKey":                       reflect.TypeFor[client.IssuedAPIKey](),
	"ListEventsResponse":                 reflect.TypeFor[client.EventsResponse](),
	"ListEdgesResponse":                  reflect.TypeFor[client.EdgesResponse](),
	"Edge":                               reflect.TypeFor[client.EdgeState](),
	"ListImportedApiKeysResponse":        reflect.TypeFor[client.ListImportedResponse](),
	"ListIssuedApiKeysResponse":          reflect.TypeFor[client.ListIssuedResponse](),
	"RateLimitPolicy":                    reflect.TypeFor[client.RateLimitPolicy](),
	"ReportUseRequest":                   reflect.TypeFor[client.ReportUseRequest](),
	"RotateIssuedApiKeyResponse":         reflect.TypeFor[client.RotateResponse](),
	"SelfRevokeApiKeyRequest":            reflect.TypeFor[client.SelfRevokeRequest](),
	"SelfRevokeApiKeyResponse":           reflect.TypeFor[struct{}](),
	"Status":                             reflect.TypeFor[client.ErrorBody](),
	"Token":                              reflect.TypeFor[client.Token](),
	"Use":                                reflect.TypeFor[client.Use](),
	"VerifyApiKeyRequest":                reflect.TypeFor[client.VerifyRequest](),
	"VerifyApiKeyResponse":               reflect.TypeFor[client.VerifyResponse](),
}

// enumTypes are the values of each enum, as the client names them.
var enumTypes = map[string]reflect.Type{
	"BatchCreateImportedApiKeysErrorCode": reflect.TypeFor[client.BatchCreateErrorCode](),
	"CallerKind":                          reflect.TypeFor[client.CallerKind](),
	"KeyStatus":                           reflect.TypeFor[client.KeyStatus](),
	"KeyVisibility":                       reflect.TypeFor[client.KeyVisibility](),
	"RevocationReason":                    reflect.TypeFor[client.RevocationReason](),
	"TokenAlgorithm":                      reflect.TypeFor[client.TokenAlgorithm](),
	"VerificationErrorCode":               reflect.TypeFor[client.VerificationErrorCode](),
}

// jsonFields are the types of a struct's fields by their names in JSON.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.Anonymous && f.IsExported() && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields
}

// fits reports whether a Go type is written as a schema says.
func fits(t reflect.Type, s *docSchema) bool {
	name := s.name()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case wireTypes[name] != nil:
		return t == wireTypes[name]
	case enumTypes[name] != nil:
		return t == enumTypes[name]
	case strings.HasPrefix(name, "[]"):
		item := s
		if len(s.AllOf) == 1 {
			item = &s.AllOf[0]
		}
		return t.Kind() == reflect.Slice && fits(t.Elem(), item.Items)
	}
	switch name {
	case "string":
		return t.Kind() == reflect.String
	case "string:date-time":
		return t == reflect.TypeFor[time.Time]()
	case "string:int64":
		return t == reflect.TypeFor[client.Int64]()
	case "string:uint64":
		return t == reflect.TypeFor[client.Position]()
	case "integer:int32":
		return t.Kind() == reflect.Int
	case "boolean":
		return t.Kind() == reflect.Bool
	case "object":
		return t == reflect.TypeFor[json.RawMessage]() || t.Kind() == reflect.Map ||
			t == reflect.TypeFor[client.KeySet]()
	default:
		return false
	}
}

func TestTheDocumentAndTheWireTypesAgree(t *testing.T) {
	t.Parallel()
	updates := jsonFields(reflect.TypeFor[client.UpdateRequest]())
	for name, s := range readDocument(t).Components.Schemas {
		if len(s.Enum) > 0 {
			if enumTypes[name] == nil {
				t.Errorf("%s: no type is known for this enum", name)
			}
			continue
		}
		if strings.HasPrefix(name, "AdminUpdate") { // the other fields are passed over
			for field, is := range updates {
				if p, ok := s.Properties[field]; !ok || !fits(is, &p) {
					t.Errorf("%s.%s: %s is not what is documented", name, field, is)
				}
			}
			continue
		}
		goType := wireTypes[name]
		if goType == nil {
			t.Errorf("%s: no type is known for this schema", name)
			continue
		}
		fields := jsonFields(goType)
		for field, p := range s.Properties {
			if is, ok := fields[field]; !ok || !fits(is, &p) {
				t.Errorf("%s.%s: %s has %v, the document %s", name, field, goType, is, p.name())
			}
		}
		for field := range fields {
			if _, ok := s.Properties[field]; !ok {
				t.Errorf("%s.%s of %s is not documented", name, field, goType)
			}
		}
	}
}
