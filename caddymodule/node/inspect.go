package node

import (
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// Inspection is what a configuration says of its node, for tools that look at a set-up and open nothing. It holds no
// secret.
type Inspection struct {
	// Storage is the canonical DSN of the database. Empty: the node is a sidecar.
	Storage string

	// Networks are those that the node serves. One with no hosts is the only one, and has every host.
	Networks []NetworkInspection

	// CacheSize bounds the cache, in bytes. 0: there is none.
	CacheSize int64

	// Upstream is that of a sidecar, or nil.
	Upstream *Upstream
}

// NetworkInspection is what a configuration says of one network.
type NetworkInspection struct {
	ID    core.NetworkID
	Hosts []string

	// Checks are the check values of the configured HMAC secrets, the current one's first, as
	// [credential.Keyring.Checks] makes them. Empty: the secret is generated.
	Checks []string

	// SecretSource says where the current HMAC secret comes from, for people. Empty: it is generated.
	SecretSource string

	// SigningKeys reports whether the configuration names the signing keys; otherwise they are generated.
	SigningKeys bool

	// Prefixes are those of the credentials that are taken.
	Prefixes credential.Prefixes
}

// defaultCacheSize is the default of [Cache.MaxSize].
const defaultCacheSize = 100 << 20

// Inspect returns what the node of a provisioned app would open.
func (a *App) Inspect() Inspection {
	i := Inspection{Upstream: a.Upstream}
	switch cache := a.settings.cache; {
	case cache.Off:
	case cache.MaxBytes == 0:
		i.CacheSize = defaultCacheSize
	default:
		i.CacheSize = cache.MaxBytes
	}
	if e, ok := a.settings.kind.(*embeddedSettings); ok {
		i.Storage = e.dsn
	}
	for _, n := range a.settings.networks {
		i.Networks = append(i.Networks, n.inspect())
	}
	return i
}

func (n *networkSettings) inspect() NetworkInspection {
	i := NetworkInspection{ID: n.id, Hosts: n.hosts, Prefixes: n.prefixes, SigningKeys: n.signing.Source != ""}
	if len(n.secrets) > 0 {
		// resolve has tried these secrets already.
		if keyring, err := credential.NewKeyring(n.secrets[0], n.secrets[1:]...); err == nil {
			i.Checks, i.SecretSource = keyring.Checks(), n.origin
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
