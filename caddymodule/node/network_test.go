package node

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// manyNetworks is an app with a number of networks over a new database. Their secrets are generated.
func manyNetworks(tb testing.TB, n int) *App {
	tb.Helper()
	dir := filepath.ToSlash(tb.TempDir())
	a := &App{
		Storage: "sqlite://" + dir + "/talos.db", storage: &certmagic.FileStorage{Path: dir + "/caddy"},
		logger: zap.NewNop(), http: noServers,
	}
	for i := range n {
		a.Networks = append(a.Networks, Network{
			Hosts: []string{fmt.Sprintf("tenant%d.example", i), fmt.Sprintf("tenant%d.internal", i)},
			ID:    networkID(i).String(),
		})
	}
	return a
}

func networkID(i int) core.NetworkID {
	return core.NetworkID{0x55, 14: byte(i >> 8), 15: byte(i)}
}

// again is the same app, as the next configuration has it.
func (a *App) again(tb testing.TB) *App {
	tb.Helper()
	next := &App{
		Storage: a.Storage, storage: a.storage, logger: a.logger, http: a.http,
		Networks: a.Networks, KeyOptions: a.KeyOptions,
	}
	var err error
	if next.settings, err = next.resolve(); err != nil {
		tb.Fatal(err)
	}
	return next
}

func hold(tb testing.TB, a *App) *Embedded {
	tb.Helper()
	n, err := a.hold()
	if err != nil {
		tb.Fatal(err)
	}
	return n.Node.(*Embedded) //nolint:errcheck,forcetypeassert // it has no upstream
}

// A network whose secret is lost gets no new one: no key of it would verify. One that is new gets one.
func TestALostSecretOfANetworkIsNotReplaced(t *testing.T) {
	t.Parallel()
	a := manyNetworks(t, 2).again(t)
	hold(t, a)
	a.Release()
	lost := "talos/networks/" + networkID(1).String() + "/hmac_secret"
	if err := a.storage.Delete(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	a.Networks = append(a.Networks, Network{Hosts: []string{"new.example"}, ID: networkID(2).String()})
	next := a.again(t)
	_, err := next.hold()
	next.Release()
	if err == nil || !strings.Contains(err.Error(), lost+" does not exist") {
		t.Errorf("got %v", err)
	}
	if a.storage.Exists(t.Context(), lost) {
		t.Error("a secret was generated")
	}
	a.Networks = []Network{a.Networks[0], a.Networks[2]}
	next = a.again(t)
	n := hold(t, next)
	defer next.Release()
	if n.Keys(networkID(2)) == nil || n.Keys(networkID(1)) != nil {
		t.Error("the new network is not served, or the other one is")
	}
}

func TestASecretOfAnotherNetworkIsRefused(t *testing.T) {
	t.Parallel()
	a := manyNetworks(t, 2).again(t)
	hold(t, a)
	a.Release()
	a.Networks[1].HMACSecret = strings.Repeat("x", 32)
	next := a.again(t)
	_, err := next.hold()
	next.Release()
	named := err != nil && strings.Contains(err.Error(), networkID(1).String())
	if !named || core.ReasonOf(err) != core.FailedPrecondition {
		t.Errorf("got %v", err)
	}
}

func TestARequestForNoNetworkHasNone(t *testing.T) {
	t.Parallel()
	a := manyNetworks(t, 1).again(t)
	n := hold(t, a)
	defer a.Release()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://elsewhere.example/", nil)
	if _, err := n.Network(r); !errors.Is(err, networks.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	r.Host = "tenant0.example:80"
	if id, err := n.Network(r); err != nil || id != networkID(0) {
		t.Errorf("got %s, %v", id, err)
	}
}

// BenchmarkNetworks opens a node with a number of networks: the first start, which generates all secrets, and the next
// one, with the memory that it takes. The last part is a decision about a key that is in the cache.
func BenchmarkNetworks(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n, "/first start"), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				a := manyNetworks(b, n)
				b.StartTimer()
				a = a.again(b)
				hold(b, a)
				b.StopTimer()
				a.Release()
				b.StartTimer()
			}
		})
		a := manyNetworks(b, n).again(b)
		hold(b, a)
		a.Release()
		b.Run(fmt.Sprint(n, "/next start"), func(b *testing.B) {
			for b.Loop() {
				next := a.again(b)
				hold(b, next)
				b.StopTimer()
				next.Release()
				b.StartTimer()
			}
		})
		before := heapInUse()
		next := a.again(b)
		open := hold(b, next)
		taken := heapInUse() - before
		_, secret, err := open.Keys(networkID(n/2)).Issue(b.Context(), engine.IssueRequest{Name: "n", ActorID: "a"})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(n, "/hot decision"), func(b *testing.B) {
			r := httptest.NewRequestWithContext(b.Context(), http.MethodGet,
				fmt.Sprintf("http://tenant%d.example:8080/", n/2), nil)
			for deadline := time.Now().Add(10 * time.Second); ; { // it enters the cache in a while
				result, err := open.Verify(r, networkID(n/2), secret)
				if err != nil || time.Now().After(deadline) {
					b.Fatalf("it is not in the cache: %v", err)
				}
				if result.Cache.FromCache() {
					break
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				id, err := open.Network(r)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := open.Verify(r, id, secret); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(taken)/1024, "KiB-of-the-node")
		})
		next.Release()
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
