package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// importServer is a server that knows batchCreate: a raw key that it has is there already, one that begins with "bad"
// is refused, and one that is not text makes it refuse the whole call.
type importServer struct {
	mu    sync.Mutex
	have  map[string]bool
	calls []int // how many items each had
	quota int   // 0: none
	mute  bool  // a refusal of all items does not say why each was refused
	down  int   // the call, from 1, that is answered 503

	before func() // each answer
}

func (s *importServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var in struct {
		Requests []map[string]any `json:"requests"`
	}
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || len(body) > 16<<20 || json.Unmarshal(body, &in) != nil ||
		r.URL.Path != "/v2alpha1/admin/importedApiKeys:batchCreate" {
		refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "not this")
		return
	}
	s.calls = append(s.calls, len(in.Requests))
	if s.before != nil {
		s.before()
	}
	if len(s.calls) == s.down {
		refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "not now")
		return
	}
	for _, item := range in.Requests {
		if item["name"] == "refuse-the-call" {
			refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "cannot be read: "+fmt.Sprint(item["raw_key"]))
			return
		}
	}
	var out client.BatchCreateResponse
	for i, item := range in.Requests {
		out.Results = append(out.Results, s.judge(i, fmt.Sprint(item["raw_key"])))
		if out.Results[i].ErrorCode == "" {
			out.SuccessCount++
		} else {
			out.FailureCount++
		}
	}
	if out.SuccessCount == 0 {
		if s.mute {
			refuse(w, http.StatusConflict, "ALREADY_EXISTS", "all there")
			return
		}
		w.WriteHeader(http.StatusConflict)
	}
	_ = json.NewEncoder(w).Encode(out)
}

// seen is how many keys it has, and of how many keys each call was.
func (s *importServer) seen() (keys int, calls string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.have), fmt.Sprint(s.calls)
}

func (s *importServer) judge(i int, raw string) client.BatchCreateResult {
	fail := func(code client.BatchCreateErrorCode, message string) client.BatchCreateResult {
		return client.BatchCreateResult{Index: i, ErrorCode: code, ErrorMessage: message}
	}
	switch {
	case s.have[raw]:
		return fail(client.BatchCreateErrorAlreadyExists, "this key has been imported already")
	case strings.HasPrefix(raw, "bad"):
		return fail(client.BatchCreateErrorInvalidArgument, "no good: "+raw)
	case s.quota > 0 && len(s.have) >= s.quota:
		return fail(client.BatchCreateErrorResourceExhausted, "the quota is full")
	}
	s.have[raw] = true
	return client.BatchCreateResult{Index: i, ImportedAPIKey: &client.Key{KeyID: "id-" + raw, Name: "n", ActorID: "a"}}
}

func refuse(w http.ResponseWriter, code int, status, message string) {
	w.WriteHeader(code)
	body := client.ErrorBody{Code: code, Status: status, Message: message}
	_ = json.NewEncoder(w).Encode(client.ErrorResponse{Error: body})
}

func (s *importServer) start(t *testing.T) (endpoint string) {
	t.Helper()
	s.have = map[string]bool{}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv.URL
}

// keysJSON is an input with n keys, k0 and so on.
func keysJSON(n int) string {
	var b strings.Builder
	b.WriteString("[")
	for i := range n {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, `{"raw_key":"k%d","name":"n","actor_id":"a"}`, i)
	}
	b.WriteString("]")
	return b.String()
}
