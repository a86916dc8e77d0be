package apitest

import (
	"sync"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

// Engine makes an engine over a store. A quota of 0 is none.
func Engine(t testing.TB, store core.Store, quota int64) *engine.Engine {
	t.Helper()
	return newEngine(t, store, engine.Config{KeyQuota: quota})
}

// NetworkEngine makes the engine of one of several networks in a store.
func NetworkEngine(t testing.TB, store core.Store, network core.NetworkID) *engine.Engine {
	t.Helper()
	return newEngine(t, store, engine.Config{Network: network})
}

func newEngine(t testing.TB, store core.Store, config engine.Config) *engine.Engine {
	t.Helper()
	keyring, err := credential.NewKeyring(Secret)
	if err != nil {
		t.Fatal(err)
	}
	config.Keyring, config.SigningKeys, config.Issuer = keyring, SigningKeys(), "https://issuer.example"
	config.Prefixes.Public = "ory_pub"
	keys, err := engine.New(config, store)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Secret is the HMAC secret of the engines.
const Secret = "an HMAC secret for the tests of adminapi"

// SigningKeys are those of every node: to make them takes time.
var SigningKeys = sync.OnceValue(func() *credential.SigningKeys {
	set, err := credential.GenerateSigningKeys()
	if err != nil {
		panic(err)
	}
	keys, err := credential.ParseSigningKeys(set, "")
	if err != nil {
		panic(err)
	}
	return keys
})
