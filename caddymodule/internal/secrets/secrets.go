package secrets

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// HMACName is the name of a network's generated HMAC secret in Caddy's storage.
func HMACName(network core.NetworkID) string { return nameOf(network, "hmac_secret") }

// SigningKeysName is the name of a network's generated signing keys in Caddy's storage.
func SigningKeysName(network core.NetworkID) string { return nameOf(network, "signing_keys") }

func nameOf(network core.NetworkID, secret string) string {
	if network == (core.NetworkID{}) {
		return "talos/" + secret
	}
	return "talos/networks/" + network.String() + "/" + secret
}

// HMAC returns the secret of a network that makes the checksums of keys and the signatures of macaroons. When there is
// none yet it is generated; with generate off that is [fs.ErrNotExist]. The error is [core.Unavailable].
func HMAC(
	ctx context.Context, s certmagic.Storage, network core.NetworkID, generate bool, logger *zap.Logger,
) (secret string, err error) {
	var value []byte
	if generate {
		value, err = hmacSecret(network).get(ctx, s, logger)
	} else {
		value, err = hmacSecret(network).load(ctx, s)
	}
	if err != nil {
		return "", core.WrapError(core.Unavailable, "the HMAC secret cannot be read", err)
	}
	return string(value), nil
}

// HMACPlace names the place of a network's generated HMAC secret in Caddy's storage: the path of its file, if it is
// one.
func HMACPlace(s certmagic.Storage, network core.NetworkID) string {
	if files, ok := s.(*certmagic.FileStorage); ok {
		return files.Filename(HMACName(network))
	}
	return HMACName(network) + " in Caddy's storage"
}

// generated is a secret that is generated once and stays in Caddy's storage.
type generated struct {
	key      string
	generate func() ([]byte, error)
	check    func([]byte) error // an error: the stored value was not written by this package, or is damaged
	notice   string             // for the log, when it is generated
}

func hmacSecret(network core.NetworkID) generated {
	return generated{
		key: HMACName(network),
		generate: func() ([]byte, error) {
			var raw [32]byte
			_, _ = rand.Read(raw[:]) // never fails
			return []byte(base64.RawURLEncoding.EncodeToString(raw[:])), nil
		},
		check: func(value []byte) error {
			if len(value) < credential.MinSecretLength {
				return fmt.Errorf("it has %d bytes", len(value))
			}
			return nil
		},
		notice: "generated an HMAC secret; back it up, because no key verifies without it",
	}
}

func signingKeySet(network core.NetworkID) generated {
	return generated{
		key:      SigningKeysName(network),
		generate: credential.GenerateSigningKeys,
		check: func(value []byte) error {
			_, err := credential.ParseSigningKeys(value, "")
			return err
		},
		notice: "generated a signing key; back it up, because no derived JWT verifies without it",
	}
}

// get returns the secret, and generates it when there is none yet. Of several processes
// that start at once on one storage, one generates it and all return the same.
func (k generated) get(
	ctx context.Context, s certmagic.Storage, logger *zap.Logger,
) (secret []byte, err error) {
	secret, err = k.load(ctx, s)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := s.Lock(ctx, k.key); err != nil {
		return nil, fmt.Errorf("locking %s in Caddy's storage: %w", k.key, err)
	}
	defer func() {
		if unlockErr := s.Unlock(context.WithoutCancel(ctx), k.key); unlockErr != nil {
			err = errors.Join(err, fmt.Errorf("unlocking %s in Caddy's storage: %w", k.key, unlockErr))
		}
	}()
	secret, err = k.load(ctx, s)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if secret, err = k.generate(); err != nil {
		return nil, fmt.Errorf("generating %s: %w", k.key, err)
	}
	if err := s.Store(ctx, k.key, secret); err != nil {
		return nil, fmt.Errorf("storing %s in Caddy's storage: %w", k.key, err)
	}
	logger.Info(k.notice, zap.String("stored_as", k.key))
	return secret, nil
}

func (k generated) load(ctx context.Context, s certmagic.Storage) ([]byte, error) {
	value, err := s.Load(ctx, k.key)
	if err != nil {
		return nil, fmt.Errorf("loading %s from Caddy's storage: %w", k.key, err)
	}
	if err := k.check(value); err != nil {
		return nil, fmt.Errorf("%s in Caddy's storage is damaged: %w", k.key, err)
	}
	return value, nil
}
