package deploy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"testing"
	"time"
)

// credentials writes what the units load: an HMAC secret, an authority, and certificates of a node and of a sidecar.
func credentials(t *testing.T, dir string) {
	t.Helper()
	write(t, filepath.Join(dir, "hmac_secret"), rand.Text()+rand.Text()+"\n")
	ca := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caKey := certificate(t, dir, "ca", ca, ca, nil)
	certificate(t, dir, "node", &x509.Certificate{
		DNSNames: []string{"talos.internal"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, caKey)
	certificate(t, dir, "sidecar", &x509.Certificate{
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca, caKey)
}

// certificate writes name.pem and name.key, signed by the parent's key or, without one, by its own.
func certificate(t *testing.T, dir, name string, template, parent *x509.Certificate, signer *ecdsa.PrivateKey,
) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		write(t, filepath.Join(dir, file), string(pem.EncodeToMemory(block)))
	}
	return key
}
