package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"

	"github.com/talos-edge/talos-edge/caddymodule/internal/secrets"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/storage"
)

// networkSettings are what a node knows of one network.
type networkSettings struct {
	id       core.NetworkID
	hosts    []string // none: every host is its
	prefixes credential.Prefixes

	// What only an embedded node has.
	issuers    []string // the current one first
	secrets    []string // the current one first; none: to be generated
	origin     string   // where the current secret is from, for errors
	signing    secrets.SigningKeys
	defaultTTL time.Duration
	maxTTL     time.Duration
	keyQuota   int64
	keyring    *credential.Keyring // nil until it is sealed
}

// several reports whether the node has the option network.
func (s *settings) several() bool { return len(s.networks[0].hosts) > 0 }

// resolve reads the options of keys, and tries them on an engine without a store.
func (n *networkSettings) resolve(o *KeyOptions, skew time.Duration) (err error) {
	n.prefixes, n.origin = o.prefixes(), o.secretOrigin
	n.defaultTTL, n.maxTTL = time.Duration(orZero(o.DefaultTTL)), time.Duration(o.MaxTTL)
	n.keyQuota = orZero(o.KeyQuota)
	n.signing = secrets.SigningKeys{Network: n.id, Source: o.SigningKeys, Active: o.ActiveKid}
	if n.issuers, err = o.issuers(); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if err := n.signing.Check(); err != nil {
		return err
	}
	switch {
	case o.HMACSecret != "":
		n.secrets = append([]string{o.HMACSecret}, o.RetiredHMACSecrets...)
	case len(o.RetiredHMACSecrets) > 0:
		return errors.New("hmac_secret: retired secrets without a current one")
	}
	return n.check(skew)
}

// check tries the settings on an engine without a store, with a throwaway secret in place of one that is not there yet.
func (n *networkSettings) check(skew time.Duration) error {
	if len(n.secrets) > 0 {
		return n.tryKeyring(n.secrets, skew)
	}
	return n.tryKeyring([]string{rand.Text() + rand.Text()}, skew)
}

func (n *networkSettings) tryKeyring(hmac []string, skew time.Duration) error {
	keyring, err := credential.NewKeyring(hmac[0], hmac[1:]...)
	if err != nil {
		return fmt.Errorf("hmac_secret: %w", err)
	}
	_, err = engine.New(n.engine(keyring, skew, nil), nil)
	return err
}

// engine is the configuration of the network's engine.
func (n *networkSettings) engine(keyring *credential.Keyring, skew time.Duration, shared *engine.Shared) engine.Config {
	return engine.Config{
		Network:        n.id,
		Issuer:         n.issuers[0],
		RetiredIssuers: n.issuers[1:],
		Keyring:        keyring,
		SigningKeys:    n.signing.Parsed,
		Prefixes:       n.prefixes,
		DefaultTTL:     n.defaultTTL,
		MaxTTL:         n.maxTTL,
		ClockSkew:      skew,
		KeyQuota:       n.keyQuota,
		Shared:         shared,
	}
}

// fields are all settings, for the pool key. The HMAC secrets take part by their check values, once they are there.
func (n *networkSettings) fields() [][]string {
	p := &n.prefixes
	fields := [][]string{
		{
			n.id.String(), p.Secret, p.Public, p.Macaroon, string(n.signing.Set), n.signing.Active,
			n.defaultTTL.String(), n.maxTTL.String(), strconv.FormatInt(n.keyQuota, 10),
		},
		n.hosts, p.RetiredSecret, p.RetiredPublic, p.RetiredMacaroon, n.issuers,
	}
	if n.keyring != nil {
		fields = append(fields, n.keyring.Checks())
	}
	return fields
}

// fetchSecret reads the HMAC secret from Caddy's storage if it is not given. One that is not there is left out.
func (n *networkSettings) fetchSecret(ctx context.Context, a *App) error {
	if len(n.secrets) > 0 {
		return nil
	}
	n.origin = secrets.HMACPlace(a.storage, n.id)
	secret, err := secrets.HMAC(ctx, a.storage, n.id, false, a.logger)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	n.secrets = []string{secret}
	return nil
}

// seal makes the keyring and the signing keys, and generates what is given nowhere. check is the check value of the
// secret that the database of a canonical DSN has for the network; empty: it has none, or it was not read.
func (n *networkSettings) seal(ctx context.Context, a *App, dsn, check string) error {
	if len(n.secrets) == 0 {
		if check != "" {
			return fmt.Errorf("the keys in %s were made with an HMAC secret, and %s does not exist; none was "+
				"generated, because no key would verify with it: bring the secret back to that place, or give it as "+
				"hmac_secret (TALOS_SECRETS_HMAC_CURRENT for `talos serve`), or begin with another database",
				storage.Display(dsn), n.origin)
		}
		secret, err := secrets.HMAC(ctx, a.storage, n.id, true, a.logger)
		if err != nil {
			return err
		}
		n.secrets = []string{secret}
	}
	keyring, err := credential.NewKeyring(n.secrets[0], n.secrets[1:]...)
	if err != nil {
		return fmt.Errorf("hmac_secret: %w", err)
	}
	if check != "" && !slices.Contains(keyring.Checks(), check) {
		return n.errSecret(dsn)
	}
	n.keyring = keyring
	return n.signing.Read(ctx, a.storage, a.logger)
}

// errSecret is the error of secrets that are not the database's.
func (n *networkSettings) errSecret(dsn string) error {
	return fmt.Errorf("the HMAC secrets are not those that the keys in %s were made with; the current one is from %s: "+
		"bring the earlier one back, there or as a retired one (`hmac_secret <current> <earlier>`, "+
		"TALOS_SECRETS_HMAC_RETIRED for `talos serve`), or begin with another database",
		storage.Display(dsn), n.origin)
}

// ids are the networks' ids.
func (s *settings) ids() []core.NetworkID {
	ids := make([]core.NetworkID, len(s.networks))
	for i, n := range s.networks {
		ids[i] = n.id
	}
	return ids
}
