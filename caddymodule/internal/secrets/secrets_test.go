package secrets

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
)

func TestSecretIsGeneratedOnceAndKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	storage := &certmagic.FileStorage{Path: dir}
	first, err := hmacSecret(core.NetworkID{}).get(context.Background(), storage, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 43 {
		t.Errorf("got %d characters, which are not 32 bytes in base64url", len(first))
	}
	storage = &certmagic.FileStorage{Path: dir}
	again, err := hmacSecret(core.NetworkID{}).get(context.Background(), storage, zap.NewNop())
	if err != nil || !bytes.Equal(again, first) {
		t.Errorf("the second start got another secret (%v)", err)
	}
	info, err := os.Stat(filepath.Join(dir, "talos", "hmac_secret"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v (%v), want 0600", info.Mode(), err)
	}
}

func TestEachNetworkHasSecretsOfItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	storage := &certmagic.FileStorage{Path: dir}
	seen := map[string]bool{}
	for id, folder := range map[core.NetworkID]string{
		{}:  "talos",
		{1}: "talos/networks/01000000-0000-0000-0000-000000000000",
		{2}: "talos/networks/02000000-0000-0000-0000-000000000000",
	} {
		secret, err := HMAC(t.Context(), storage, id, true, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		keys := SigningKeys{Network: id}
		if err := keys.Read(t.Context(), storage, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"hmac_secret": secret, "signing_keys": string(keys.Set)} {
			got, err := os.ReadFile(filepath.Join(dir, folder, name))
			if err != nil || string(got) != want {
				t.Errorf("%s/%s holds another secret than was returned (%v)", folder, name, err)
			}
			if seen[want] {
				t.Errorf("%s of network %s is that of another network", name, id)
			}
			seen[want] = true
		}
	}
}

func TestProcessesThatStartAtOnceAgreeOnOneSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secrets := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			var err error
			storage, secret := &certmagic.FileStorage{Path: dir}, hmacSecret(core.NetworkID{})
			if secrets[i], err = secret.get(context.Background(), storage, zap.NewNop()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range secrets {
		if !bytes.Equal(s, secrets[0]) || len(s) == 0 {
			t.Fatal("two processes have different secrets")
		}
	}
}

func TestDamagedSecretIsAnErrorAndNotReplaced(t *testing.T) {
	t.Parallel()
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	if err := storage.Store(context.Background(), HMACName(core.NetworkID{}), []byte("cut short")); err != nil {
		t.Fatal(err)
	}
	_, err := hmacSecret(core.NetworkID{}).get(context.Background(), storage, zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "damaged") || strings.Contains(err.Error(), "cut short") {
		t.Errorf("got %v", err)
	}
	if secret, _ := storage.Load(context.Background(), HMACName(core.NetworkID{})); string(secret) != "cut short" {
		t.Error("the stored secret has been replaced")
	}
}

// brokenStorage fails to load.
type brokenStorage struct {
	certmagic.Storage
	stored bool
}

func (*brokenStorage) Load(context.Context, string) ([]byte, error) { return nil, fs.ErrPermission }

func (b *brokenStorage) Store(context.Context, string, []byte) error { b.stored = true; return nil }

func TestUnreadableSecretIsNotTakenForAMissingOne(t *testing.T) {
	t.Parallel()
	b := new(brokenStorage)
	_, err := hmacSecret(core.NetworkID{}).get(context.Background(), b, zap.NewNop())
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
	if b.stored {
		t.Error("a new secret was stored over one that could not be read")
	}
}
