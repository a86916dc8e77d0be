package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core/engine"
)

// An app, or another gate behind this one, may know the identity under the default prefix too.
func TestAttack09_TheDefaultPrefixIsStrippedWhateverIdentitySays(t *testing.T) {
	e := startEdge(t, edgeConfig{Global: aliasing, Site: `
		talos_gate /gated/* {
			identity X-Who-
		}
		talos_gate /optional/* {
			identity X-Who-
			optional
		}
		reverse_proxy BACKEND
		handle_errors {
			reverse_proxy BACKEND
		}`})
	id, key := e.issue(engine.IssueRequest{})
	const (
		plain    = "X-Talos-Actor: root\nx-talos-key-id: root\nX-TALOS-Scopes: root\nX-Who-Actor: root\n"
		spelled  = "X_Talos_Actor: root\nX.Talos.Actor: root\nX_Talos.Metadata: root\nX_Who_Key_Id: root\n"
		trailers = "X-Talos-Actor: root\nx_talos_actor: root\nX-Who-Actor: root\nX-Checksum: 42\n"
	)
	for name, tc := range map[string]struct{ path, forged, credential, keyID string }{
		"gated":                      {"/gated/", plain, key, id},
		"gated, spelled":             {"/gated/", spelled, key, id},
		"refused":                    {"/gated/", plain, "", ""},
		"refused, spelled":           {"/gated/", spelled, "", ""},
		"optional, with a key":       {"/optional/", plain, key, id},
		"optional, without one":      {"/optional/", plain, "", ""},
		"optional, spelled":          {"/optional/", spelled, key, id},
		"optional, without, spelled": {"/optional/", spelled, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			line := ""
			if tc.credential != "" {
				line = "Authorization: Bearer " + tc.credential + "\n"
			}
			got := e.raw("POST " + tc.path + " HTTP/1.1\nHost: x\nTe: trailers\nTransfer-Encoding: chunked\n" +
				"Connection: close, X-Who-Key-Id\nTrailer: X-Talos-Actor, X-Who-Actor, X-Checksum\n" +
				tc.forged + line + "\n4\nbody\n0\n" + trailers + "\n")
			if strings.Contains(got.body, "root") {
				t.Errorf("the app was sent %s", got.body)
			}
			s := got.seen(t)
			if s.Header.Get("X-Who-Key-Id") != tc.keyID {
				t.Errorf("the identity is %q, want %q", s.Header.Get("X-Who-Key-Id"), tc.keyID)
			}
		})
	}
}

// What a first gate says under the default prefix is not the client's word; a second one leaves it.
func TestAttack09_ASecondGateLeavesTheIdentityOfTheFirst(t *testing.T) {
	e := startEdge(t, edgeConfig{Site: `
		route {
			talos_gate
			talos_gate {
				identity X-Who-
			}
			reverse_proxy BACKEND
		}`})
	id, key := e.issue(engine.IssueRequest{})
	got := e.get("/", "Authorization", "Bearer "+key,
		"X-Talos-Key-Id", "root", "X-Who-Key-Id", "root", "X-Talos-Other", "root")
	if got.status != http.StatusOK || strings.Contains(got.body, "root") {
		t.Fatalf("%d %s", got.status, got.body)
	}
	s := got.seen(t)
	for _, name := range []string{"X-Talos-Key-Id", "X-Who-Key-Id"} {
		if s.Header.Get(name) != id {
			t.Errorf("%s is %q, want %q", name, s.Header.Get(name), id)
		}
	}
}
