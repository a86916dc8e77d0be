package caddymodule

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core/credential"
)

// secretKey is where a generated HMAC secret is kept in Caddy's storage.
const secretKey = "talos/hmac_secret"

// keptSecret returns the secret in Caddy's storage, which it generates when there is none yet. Of several processes
// that start at once on one storage, one generates it and all return the same.
func keptSecret(ctx context.Context, s certmagic.Storage, logger *zap.Logger) (secret string, err error) {
	secret, err = loadSecret(ctx, s)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := s.Lock(ctx, secretKey); err != nil {
		return "", fmt.Errorf("locking %s in Caddy's storage: %w", secretKey, err)
	}
	defer func() {
		if unlockErr := s.Unlock(context.WithoutCancel(ctx), secretKey); unlockErr != nil {
			err = errors.Join(err, fmt.Errorf("unlocking %s in Caddy's storage: %w", secretKey, unlockErr))
		}
	}()
	secret, err = loadSecret(ctx, s)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	secret = base64.RawURLEncoding.EncodeToString(raw[:])
	if err := s.Store(ctx, secretKey, []byte(secret)); err != nil {
		return "", fmt.Errorf("storing %s in Caddy's storage: %w", secretKey, err)
	}
	logger.Info("generated an HMAC secret; back it up, for without it no key verifies",
		zap.String("kept_as", secretKey))
	return secret, nil
}

// loadSecret reads the kept secret. One that is too short was not written by us and is an error, not a secret.
func loadSecret(ctx context.Context, s certmagic.Storage) (string, error) {
	value, err := s.Load(ctx, secretKey)
	if err != nil {
		return "", fmt.Errorf("loading %s from Caddy's storage: %w", secretKey, err)
	}
	if len(value) < credential.MinSecretLength {
		return "", fmt.Errorf("%s in Caddy's storage is damaged: it has %d bytes", secretKey, len(value))
	}
	return string(value), nil
}
