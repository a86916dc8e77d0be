package node

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/internal/pool"
	"github.com/talos-edge/talos-edge/caddymodule/internal/secrets"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/storage"
)

// TestStoresOfOneDatabaseAreNeverOpenTwice closes and opens one database from many goroutines: at no time are two
// stores of it open, and none is left.
func TestStoresOfOneDatabaseAreNeverOpenTwice(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	s, err := a.seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dsn, err := storage.Canonical(a.Storage)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			mine := *s
			mine.key = fmt.Sprint(s.key, i%2) // two nodes on one store
			for range 10 {
				n, err := acquireNode(t.Context(), &mine)
				if err != nil {
					t.Error(err)
					return
				}
				if open, ok := n.Node.(*Embedded); !ok || open.Keys(core.NetworkID{}).Ready(t.Context()) != nil {
					t.Error("the node does not answer")
				}
				inUse.mu.Lock()
				open := 0
				for store := range inUse.stores {
					if store.dsn == dsn {
						open++
					}
				}
				inUse.mu.Unlock()
				if open != 1 {
					t.Errorf("%d stores of one database are open", open)
				}
				if err := releaseNode(mine.key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, found := pool.Stores.References(dsn); found {
		t.Error("the store is still open")
	}
	if _, found := closing.Load(dsn); found {
		t.Error("the store is still closing")
	}
}

// slowClose is a store that takes its time to close.
type slowClose struct {
	core.Store
	begun, proceed chan struct{}
}

func (s slowClose) Close() error {
	close(s.begun)
	<-s.proceed
	return s.Store.Close()
}

func TestStoreIsOpenedAgainOnlyWhenTheOneOfBeforeHasClosed(t *testing.T) {
	t.Parallel()
	dsn := "sqlite://" + filepath.ToSlash(t.TempDir()) + "/talos.db"
	first, err := acquireStore(t.Context(), dsn, dsn)
	if err != nil {
		t.Fatal(err)
	}
	slow := slowClose{first.Store, make(chan struct{}), make(chan struct{})}
	first.Store = slow
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := releaseStore(dsn); err != nil {
			t.Error(err)
		}
	})
	<-slow.begun
	opened := make(chan error)
	wg.Go(func() {
		_, err := acquireStore(t.Context(), dsn, dsn)
		opened <- err
	})
	select {
	case err := <-opened:
		t.Fatalf("a second store of the database was opened (%v)", err)
	case <-time.After(100 * time.Millisecond): // it would have been, long ago
	}
	close(slow.proceed)
	if err := <-opened; err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := releaseStore(dsn); err != nil {
		t.Error(err)
	}
}

func TestOpeningGivesUpWhenTheStoreOfBeforeDoesNotClose(t *testing.T) {
	t.Parallel()
	dsn := "sqlite://" + filepath.ToSlash(t.TempDir()) + "/talos.db"
	stuck := &pooledStore{dsn: dsn, closed: make(chan struct{})}
	closing.Store(dsn, stuck)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := acquireStore(ctx, dsn, dsn); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	stuck.markClosed()
	if _, err := acquireStore(t.Context(), dsn, dsn); err != nil {
		t.Error(err)
	}
	if err := releaseStore(dsn); err != nil {
		t.Error(err)
	}
}

// TestAnOpeningThatOthersJoinedFailsForItsOwnCallerOnly opens a store twice at once, and the first caller gives up.
func TestAnOpeningThatOthersJoinedFailsForItsOwnCallerOnly(t *testing.T) {
	t.Parallel()
	dsn := "sqlite://" + filepath.ToSlash(t.TempDir()) + "/talos.db"
	before := &pooledStore{dsn: dsn, closed: make(chan struct{})}
	closing.Store(dsn, before) // holds up whoever opens the store
	opening := func(ctx context.Context, uses int) chan error {
		opened := make(chan error, 1)
		go func() {
			_, err := acquireStore(ctx, dsn, dsn)
			opened <- err
		}()
		until(t, "the store is being opened", func() bool { n, _ := pool.Stores.References(dsn); return n == uses })
		return opened
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := opening(ctx, 1)
	second := opening(t.Context(), 2)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first caller: %v", err)
	}
	before.markClosed()
	if err := <-second; err != nil {
		t.Fatalf("the second caller: %v", err)
	}
	if err := releaseStore(dsn); err != nil {
		t.Error(err)
	}
}

// TestANodeIsOpenForEachOfItsUses begins and ends uses from many goroutines, so that the last one often ends while
// another begins.
func TestANodeIsOpenForEachOfItsUses(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				n, ok := a.Hold().(*Embedded)
				if !ok {
					t.Error("the node is not open")
				} else if err := n.Keys(core.NetworkID{}).Ready(t.Context()); err != nil {
					t.Error(err)
				}
				a.Release()
			}
		})
	}
	wg.Wait()
	if _, found := pool.Nodes.References(a.settings.key); found || a.node.Load() != nil {
		t.Error("the node is open without a use")
	}
}

func TestAStartThatFailedKeepsNoUseOfTheNode(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	path := strings.TrimPrefix(a.Storage, "sqlite://")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err == nil {
		t.Fatal("a directory was opened as a database")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.Hold().(*Embedded); !ok {
		t.Error("the node is not open")
	}
	a.Release()
	if _, found := pool.Nodes.References(a.settings.key); found {
		t.Error("the node is open without a use")
	}
}

func TestErrorsOfTheNodeAreUnavailableToCallers(t *testing.T) {
	t.Parallel()
	a := &App{
		settings: settings{
			kind:     new(embeddedSettings),
			networks: []*networkSettings{{secrets: []string{"short"}, signing: secrets.SigningKeys{Source: "none"}}},
		},
		http: noServers,
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/", nil)
	if err != nil {
		t.Fatal(err)
	}
	n := a.Hold()
	defer a.Release()
	if _, err := n.Verify(req, core.NetworkID{}, "credential"); core.ReasonOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
	w := httptest.NewRecorder()
	n.Admin(adminapi.Options{}).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v2alpha1/admin/apiKeys:verify",
		strings.NewReader(`{"credential":"a"}`)))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("the private surface: %d %s", w.Code, w.Body)
	}
	if err := a.Cleanup(); err != nil {
		t.Errorf("Cleanup of what never started: %v", err)
	}
	var target *core.Error
	if err := a.Start(); err == nil || errors.As(err, &target) && target.Reason == core.NotFound {
		t.Errorf("got %v", err)
	}
}

// noServers is the app http of a configuration that has none.
func noServers() (*caddyhttp.App, error) { return nil, nil }

// newApp is an app over a new database.
func newApp(t *testing.T) *App {
	t.Helper()
	set, err := credential.GenerateSigningKeys()
	if err != nil {
		t.Fatal(err)
	}
	a := &App{
		Storage: "sqlite://" + filepath.ToSlash(t.TempDir()) + "/talos.db",
		KeyOptions: KeyOptions{
			HMACSecret:  strings.Repeat("a", 40),
			SigningKeys: "base64://" + base64.StdEncoding.EncodeToString(set),
		},
		logger: zap.NewNop(), http: noServers,
	}
	if a.settings, err = a.resolve(); err != nil {
		t.Fatal(err)
	}
	return a
}

// until repeats something until it is so, for at most half a minute.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	late := time.After(30 * time.Second)
	for !so() {
		select {
		case <-ticks.C:
		case <-late:
			t.Fatalf("it is still not so that %s", what)
		}
	}
}
