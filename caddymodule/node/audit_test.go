package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/adminapi"
)

func TestTheOriginOfARequestIsWhatTheServerHasChecked(t *testing.T) {
	t.Parallel()
	certificate := &x509.Certificate{Subject: pkix.Name{CommonName: "deploy", Organization: []string{"Example"}}}
	for name, tc := range map[string]struct {
		tls    *tls.ConnectionState
		values map[string]string // placeholders
		want   adminapi.Origin
	}{
		"nobody is known": {},
		"a certificate": {
			tls: &tls.ConnectionState{
				PeerCertificates: []*x509.Certificate{certificate},
				VerifiedChains:   [][]*x509.Certificate{{certificate}},
			},
			want: adminapi.Origin{Certificate: "CN=deploy,O=Example"},
		},
		"a certificate that nobody has checked": {
			tls: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}},
		},
		"a key that a gate has admitted": {
			values: map[string]string{
				"http.auth.user.id": "alice", "http.talos.decision": "admitted", "http.talos.key_id": "a-key",
			},
			want: adminapi.Origin{User: "alice", KeyID: "a-key"},
		},
		"a key that a gate has refused": {
			values: map[string]string{"http.talos.decision": "refused", "http.talos.key_id": "a-key"},
		},
	} {
		repl := caddy.NewReplacer()
		for placeholder, value := range tc.values {
			repl.Set(placeholder, value)
		}
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.TLS = tc.tls
		if got := origin(r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))); got != tc.want {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
