package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/storage/redis"
	"github.com/talos-edge/talos-edge/storage/redis/redistest"
)

func TestOpen_UserPasswordAndDatabase(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Do(t, "ACL", "SETUSER", "some:one", "on", ">pass/w@rd", "~*", "+@all")
	l := open(t, "redis://some%3Aone:pass%2Fw%40rd@"+s.Addr()+"/3?timeout=10s")
	l.take(t, "key", seldom(1))
	if keyspace := s.Client.Info(t.Context(), "keyspace").Val(); !strings.Contains(keyspace, "db3:keys=2,") {
		t.Errorf("the entry of the key and that of the probe are not in database 3: %s", keyspace)
	}
}

// permissions are those that the manual asks for. A database other than 0 and a cluster need one more.
var permissions = []any{
	"ACL", "SETUSER", "talos", "on", ">secret", "~talos:limit:*", "+eval", "+evalsha", "+get", "+set", "+time",
}

func TestOpen_NeedsNoOtherPermissions(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Do(t, append(permissions, "+select")...)
	l := open(t, "redis://talos:secret@"+s.Addr()+"/1?timeout=10s")
	l.take(t, "key", seldom(1))
	if l.local.Load() != 0 {
		t.Errorf("the use was not counted in Redis: %s", l.cause())
	}
}

func TestOpen_AWrongPasswordIsReportedAndUsesAreCountedInThisProcess(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--requirepass", "hunter1")
	l := open(t, "redis://:hunter2@"+s.Addr()+"?timeout=10s")
	if r := l.take(t, "key", seldom(1)); !r.Allowed || l.local.Load() != 1 {
		t.Errorf("got %+v", r)
	}
	if cause := <-l.away; !strings.Contains(cause, "WRONGPASS") || strings.Contains(cause, "hunter") {
		t.Errorf("the cause is reported as %q", cause)
	}
}

func TestOpen_TLS(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t), newAuthority(t)
	cert, key := ours.sign("redis.internal")
	port := redistest.OtherPort()
	redistest.Start(t, "--tls-port", port, "--tls-ca-cert-file", ours.file, "--tls-cert-file", cert,
		"--tls-key-file", key, "--tls-auth-clients", "yes")
	clientCert, clientKey := ours.sign("a node")
	otherCert, otherKey := others.sign("a node")
	url := func(ca, cert, key, name string) string {
		return "rediss://127.0.0.1:" + port + "?timeout=10s&tls_ca=" + ca + "&tls_cert=" + cert + "&tls_key=" + key +
			"&tls_server_name=" + name
	}
	l := open(t, url(ours.file, clientCert, clientKey, "redis.internal"))
	if l.take(t, "key", seldom(1)); l.local.Load() != 0 {
		t.Errorf("the use was not counted in Redis: %s", l.cause())
	}
	for name, test := range map[string]struct{ url, want string }{
		"another authority":   {url(others.file, clientCert, clientKey, "redis.internal"), "certificate"},
		"another server name": {url(ours.file, clientCert, clientKey, "elsewhere.internal"), "certificate"},
		"a certificate of another authority": {
			url(ours.file, otherCert, otherKey, "redis.internal"), "",
		},
		"no TLS": {"redis://127.0.0.1:" + port + "?timeout=10s", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, test.url)
			if cause := <-l.away; !strings.Contains(cause, test.want) {
				t.Errorf("the cause is reported as %q", cause)
			}
			if r := l.take(t, "key", seldom(1)); !r.Allowed {
				t.Errorf("with a count of its own: %+v", r)
			}
		})
	}
}

func TestOpen_FilesThatCannotBeReadAreAnError(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	cert, key := a.sign("a node")
	for _, query := range []string{
		"tls_ca=/nowhere.pem", "tls_ca=" + key,
		"tls_cert=/nowhere.pem&tls_key=" + key, "tls_cert=" + key + "&tls_key=" + cert,
	} {
		if _, err := redis.Open("rediss://localhost?"+query, redis.Observer{}); err == nil {
			t.Errorf("%s: no error", query)
		}
	}
}

func TestOpen_SentinelsLeadToTheNewMaster(t *testing.T) {
	t.Parallel()
	r := redistest.StartReplicated(t)
	l := open(t, "redis-sentinel://"+r.Sentinel.Addr()+"/"+redistest.Master+"?timeout=1s")
	l.awaitShared(t, "uses are counted on the master")
	l.take(t, "before", seldom(100))
	redistest.Await(t, "the replica has the count", func() bool {
		return r.Replica.Client.Exists(t.Context(), entry("before")).Val() == 1
	})
	r.Master.Kill(t)
	redistest.Await(t, "the use is counted on the new master", func() bool {
		l.take(t, "after", seldom(100_000))
		return r.Replica.Client.Exists(t.Context(), entry("after")).Val() == 1
	})
	l.awaitShared(t, "uses are counted on the new master")
	if got := l.take(t, "before", seldom(100)); got.Remaining != 98 {
		t.Errorf("the earlier count is lost: %+v", got)
	}
}

func TestOpen_ClusterCountsOnAllItsMasters(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t)
	for _, node := range nodes {
		node.Do(t, append(permissions, "+cluster|slots")...)
	}
	l := open(t, "redis-cluster://talos:secret@"+nodes[0].Addr()+","+nodes[1].Addr()+"?timeout=10s")
	const keys = 60
	for i := range keys {
		key := strings.Repeat("k", i+1)
		for use, want := range []bool{true, true, false} {
			if r := l.take(t, key, seldom(2)); r.Allowed != want {
				t.Errorf("key %d, use %d: %+v", i+1, use+1, r)
			}
		}
	}
	if n := l.local.Load(); n != 0 {
		t.Errorf("%d uses were not counted in Redis: %s", n, l.cause())
	}
	for i, node := range nodes {
		if n := node.Client.DBSize(t.Context()).Val(); n < keys/10 {
			t.Errorf("master %d has %d of %d entries", i+1, n, keys)
		}
	}

	useAll := func() (local int64) {
		before := l.local.Load()
		for i := range keys {
			l.take(t, strings.Repeat("k", i+1), seldom(2))
		}
		return l.local.Load() - before
	}
	nodes[2].Kill(t)
	redistest.Await(t, "uses are counted in this process", func() bool { return useAll() > 0 })
	nodes[2].Restart(t)
	nodes[2].Do(t, append(permissions, "+cluster|slots")...) // a restart loses them, too
	redistest.Await(t, "all uses are counted in Redis again", func() bool { return useAll() == 0 })
}

// authority is a certificate authority, as files.
type authority struct {
	t    *testing.T
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.file, _ = a.sign("an authority")
	return a
}

// sign writes a certificate for a name, and its key. The first one is the authority's own.
func (a *authority) sign(name string) (certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv6loopback},
	}
	if a.cert == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		a.cert, a.key = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	folder := a.t.TempDir()
	write := func(file, kind string, bytes []byte) string {
		file = filepath.ToSlash(filepath.Join(folder, file))
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", private)
}
