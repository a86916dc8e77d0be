package node

import (
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core/credential"
)

// Inspection is what a configuration says of its node, for tools that look at a set-up and open nothing. It holds no
// secret.
type Inspection struct {
	// Storage is the canonical DSN of the database. Empty: the node is a sidecar.
	Storage string

	// Checks are the check values of the configured HMAC secrets, the current one's first, as
	// [credential.Keyring.Checks] makes them. Empty: the secret is generated.
	Checks []string

	// SigningKeys reports whether the configuration names the signing keys; otherwise they are generated.
	SigningKeys bool

	// Prefixes are those of the credentials that the node takes.
	Prefixes credential.Prefixes

	// CacheSize bounds the cache, in bytes. 0: there is none.
	CacheSize int64

	// Upstream is that of a sidecar, or nil.
	Upstream *Upstream
}

// defaultCacheSize is the default of [Cache.MaxSize].
const defaultCacheSize = 100 << 20

// Inspect returns what the node of a provisioned app would open.
func (a *App) Inspect() Inspection {
	i := Inspection{Prefixes: a.settings.prefixes, Upstream: a.Upstream}
	switch cache := a.settings.cache; {
	case cache.Off:
	case cache.MaxBytes == 0:
		i.CacheSize = defaultCacheSize
	default:
		i.CacheSize = cache.MaxBytes
	}
	e, ok := a.settings.kind.(*embeddedSettings)
	if !ok {
		return i
	}
	i.Storage, i.SigningKeys = e.dsn, e.signing.Source != ""
	if len(e.secrets) > 0 {
		// resolve has tried these secrets already.
		if keyring, err := credential.NewKeyring(e.secrets[0], e.secrets[1:]...); err == nil {
			i.Checks = keyring.Checks()
		}
	}
	return i
}

// Client makes a client of one of the upstream's addresses, with this node's certificates. What carries its calls
// ([client.Client.Target]) adds no header.
func (u *Upstream) Client(address string) (*client.Client, error) {
	settings, _, err := u.tls()
	if err != nil {
		return nil, err
	}
	return client.New(address, client.WithTLS(settings))
}
