package pgtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"
)

// authority makes the certificates of one server, in its folder.
type authority struct {
	folder      string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newAuthority makes an authority, and certificates of the server and of the superuser.
func newAuthority(folder string) (*authority, error) {
	a := &authority{folder: folder}
	err := a.issue("ca", "ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	if err == nil {
		err = a.issue("server", "localhost", &x509.Certificate{
			DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.ParseIP(loopback)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
	}
	if err == nil {
		err = a.issueClient(superuser)
	}
	return a, err
}

// path is where a certificate is, or its key.
func (a *authority) path(file string) string { return filepath.Join(a.folder, file) }

func (a *authority) issueClient(user string) error {
	return a.issue(clientFile(user), user, &x509.Certificate{
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func clientFile(user string) string { return "client-" + user }

// issue writes file.crt and file.key, signed by the authority or, if it has no certificate yet, by itself.
func (a *authority) issue(file, name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if a.key == nil {
		a.certificate, a.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(suffix, kind string, der []byte) error {
		return writeFile(a.path(file+suffix), string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	}
	return errors.Join(write(".crt", "CERTIFICATE", der), write(".key", "PRIVATE KEY", private))
}

// settings are the lines of postgresql.conf by which a server uses the certificates.
func (a *authority) settings() []string {
	return []string{
		"ssl = on", "ssl_ca_file = '" + a.path("ca.crt") + "'",
		"ssl_cert_file = '" + a.path("server.crt") + "'", "ssl_key_file = '" + a.path("server.key") + "'",
	}
}

// parameters are those of a DSN of a server with TLS.
func (a *authority) parameters(client bool) url.Values {
	v := url.Values{"sslmode": {"verify-full"}, "sslrootcert": {a.path("ca.crt")}}
	if client {
		v.Set("sslcert", a.path(clientFile(superuser)+".crt"))
		v.Set("sslkey", a.path(clientFile(superuser)+".key"))
	}
	return v
}

// ClientCertificate makes a certificate for a user of the server, which has TLS, and returns the paths of the
// certificate and of its key.
func (s *Server) ClientCertificate(tb testing.TB, user string) (certificate, key string) {
	tb.Helper()
	if err := s.tls.issueClient(user); err != nil {
		tb.Fatal(err)
	}
	return s.tls.path(clientFile(user) + ".crt"), s.tls.path(clientFile(user) + ".key")
}
