package sidecar

import (
	"net/http"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

func TestEveryChangeThroughASidecarIsBelievedThereAtOnce(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	const raw = "an imported key"
	if v, _ := s.ask(t, raw); v.ErrorCode != client.VerificationErrorNotFound {
		t.Fatalf("before its import: %+v", v)
	}
	w := apitest.Post(s.admin, batchPath, `{"requests":[{"raw_key":"`+raw+`","name":"n","actor_id":"a"},{}]}`)
	out := apitest.Unmarshal[client.BatchCreateResponse](t, w.Body.Bytes())
	if w.Code != http.StatusOK || out.SuccessCount != 1 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if v, _ := s.ask(t, raw); !v.IsValid {
		t.Errorf("after its import: %+v", v)
	}
	id := out.Results[0].ImportedAPIKey.KeyID
	w = apitest.Patch(s.admin, importedPath+"/"+id, "scopes", `{"imported_api_key":{"scopes":["x"]}}`)
	if w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if v, _ := s.ask(t, raw); len(v.Scopes) != 1 || v.Scopes[0] != "x" {
		t.Errorf("after the update: %+v", v)
	}
	w = apitest.Post(s.admin, derivePath, `{"credential":"`+raw+`"}`)
	token := apitest.Unmarshal[client.DeriveResponse](t, w.Body.Bytes()).Token.Token
	if v, _ := s.ask(t, token); !v.IsValid || v.KeyID != id {
		t.Errorf("its token: %+v", v)
	}
	w = apitest.Serve(s.admin, apitest.Request(http.MethodDelete, importedPath+"/"+id, ""))
	if w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	for _, cred := range []string{raw, token} {
		if v, _ := s.ask(t, cred); v.IsValid {
			t.Errorf("after the deletion: %+v", v)
		}
	}

	k := s.issue(t, "")
	if v, _ := s.ask(t, k.Secret); !v.IsValid {
		t.Fatal("a new key is not valid")
	}
	w = apitest.Post(s.admin, issuedPath+"/"+k.IssuedAPIKey.KeyID+":rotate", "{}")
	rotated := apitest.Unmarshal[client.RotateResponse](t, w.Body.Bytes())
	if v, _ := s.ask(t, k.Secret); v.ErrorCode != client.VerificationErrorRevoked {
		t.Errorf("the old key after the rotation: %+v", v)
	}
	if v, _ := s.ask(t, rotated.Secret); !v.IsValid {
		t.Errorf("the new key after the rotation: %+v", v)
	}
	w = apitest.Get(s.admin, issuedPath+"?page_size=1")
	if page := apitest.Unmarshal[client.ListIssuedResponse](t, w.Body.Bytes()); len(page.IssuedAPIKeys) != 1 {
		t.Errorf("the list is %s", w.Body)
	}
}

func TestASidecarBoundsTheBatchesThatItPasses(t *testing.T) {
	t.Parallel()
	s := newSidecarNode(t)
	long := `{"requests":[{"raw_key":"a","name":"n","actor_id":"a"}],"x":"` + strings.Repeat("x", 2<<20) + `"}`
	if w := apitest.Post(s.admin, batchPath, long); w.Code != http.StatusOK {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	apitest.WantError(t, apitest.Post(s.admin, batchPath, `{"requests":[{}`+strings.Repeat(",{}", 1000)+`]}`),
		400, core.BadRequest)
	apitest.WantError(t, apitest.Post(s.admin, batchPath, `{"x":"`+strings.Repeat("x", maxBatchBody)+`"}`),
		413, core.BadRequest)
}
