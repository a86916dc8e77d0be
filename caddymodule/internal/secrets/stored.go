package secrets

import (
	"context"
	"errors"
	"io/fs"

	"github.com/caddyserver/certmagic"

	"github.com/talos-edge/talos-edge/core"
)

// Stored are generated secrets as they are in Caddy's storage. One that was not generated yet is nil.
type Stored struct {
	HMAC        []byte
	SigningKeys []byte // a JWK Set with private keys
}

// ReadStored reads the generated secrets of a network, and generates none.
func ReadStored(ctx context.Context, s certmagic.Storage, network core.NetworkID) (*Stored, error) {
	var stored Stored
	for _, one := range []struct {
		kind generated
		to   *[]byte
	}{{hmacSecret(network), &stored.HMAC}, {signingKeySet(network), &stored.SigningKeys}} {
		value, err := one.kind.load(ctx, s)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		*one.to = value
	}
	return &stored, nil
}
