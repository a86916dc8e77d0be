package caddymodule_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificates are what one authority has signed, as files.
type certificates struct {
	t      *testing.T
	folder string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	issued int64
}

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	c := &certificates{t: t, folder: t.TempDir()}
	c.cert, c.key = c.make("ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return c
}

// path is where a certificate is, or its key.
func (c *certificates) path(file string) string {
	return filepath.ToSlash(filepath.Join(c.folder, file))
}

// make writes a certificate, signed by the authority or, if it is the first one, by itself.
func (c *certificates) make(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	c.issued++
	template.SerialNumber, template.Subject = big.NewInt(c.issued), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c.cert, c.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(c.path(file), pem.EncodeToMemory(block), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	return cert, key
}

// listen serves a handler to who shows a certificate of the authority. As Caddy does then, it takes no request for
// another host than the one that the handshake was for.
func (c *certificates) listen(handler http.Handler) (addr string) {
	c.t.Helper()
	c.make("node", &x509.Certificate{
		DNSNames: []string{"talos.internal"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	pair, err := tls.LoadX509KeyPair(c.path("node.pem"), c.path("node.key"))
	if err != nil {
		c.t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(c.cert)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != r.TLS.ServerName {
			http.Error(w, "", http.StatusMisdirectedRequest)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
		MinVersion: tls.VersionTLS13,
	}
	server.StartTLS()
	c.t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestAttack16_ACertificateIsForTheSidecarsOwnCallsOnly(t *testing.T) {
	far := newFarNode(t)
	c := newCertificates(t)
	node := c.listen(far.handler)
	c.make("edge", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	s := startSidecar(t, "https://"+node, fmt.Sprintf("tls_ca %s\ntls_cert %s %s\ntls_server_name talos.internal",
		c.path("ca.pem"), c.path("edge.pem"), c.path("edge.key")), "")
	if got := s.call("GET", s.public, "/health/ready", ""); got.status != http.StatusOK {
		t.Errorf("ready: %d %s", got.status, got.body)
	}

	s.endpoint = far.url() // keys are made at the node itself
	id, secret := s.issue()
	if got := s.gated(secret); got.status != http.StatusOK || got.body != id {
		t.Errorf("a good key: %d %s", got.status, got.body)
	}
	if got := s.call("GET", s.public, "/v2alpha1/derivedKeys/jwks.json", ""); got.status != http.StatusOK ||
		!strings.Contains(got.body, `"far"`) {
		t.Errorf("the key set: %d %s", got.status, got.body)
	}
	got := s.call("GET", s.addr, "/v2alpha1/admin/issuedApiKeys", "")
	if got.status != http.StatusServiceUnavailable {
		t.Errorf("a caller's own call: %d %s", got.status, got.body)
	}
	if got := s.call("POST", s.public, selfRevokePath, `{"credential":"`+secret+`"}`); got.status != http.StatusOK {
		t.Errorf("self-revocation: %d %s", got.status, got.body)
	}
	if got := s.gated(secret); got.status != http.StatusUnauthorized {
		t.Errorf("a key whose holder revoked it: %d %s", got.status, got.body)
	}
}
