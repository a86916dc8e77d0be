package secrets

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// inlineScheme begins signing keys that are written in the configuration itself.
const inlineScheme = "base64://"

// maxSigningFile is the size of the largest file with signing keys, in bytes.
const maxSigningFile = 1 << 20

// SigningKeys are the keys that sign derived JWTs, as they are configured.
type SigningKeys struct {
	Network core.NetworkID // of the generated ones

	Source string // a file, or `base64://` and a JWK Set in base64; empty: generated
	Active string // the kid of the key that signs; empty: the first private one

	Set    []byte                  // the JWK Set, set by Read
	Parsed *credential.SigningKeys // the same, parsed
}

// Check checks keys that are written in the configuration. It reads no file.
func (k *SigningKeys) Check() error {
	switch {
	case k.Source == "" && k.Active != "":
		return errors.New("signing_keys: an active kid without keys")
	case !strings.HasPrefix(k.Source, inlineScheme):
		return nil
	}
	set, err := decodeInline(k.Source)
	if err != nil {
		return err
	}
	_, err = credential.ParseSigningKeys(set, k.Active) // names what it is about
	return err
}

// Read reads the keys. Without a Source they are in Caddy's storage, and are generated when there are none yet; the
// error is [core.Unavailable] when they cannot be read there.
func (k *SigningKeys) Read(ctx context.Context, s certmagic.Storage, logger *zap.Logger) (err error) {
	switch {
	case k.Source == "":
		if k.Set, err = signingKeySet(k.Network).get(ctx, s, logger); err != nil {
			return core.WrapError(core.Unavailable, "the signing keys cannot be read", err)
		}
	case strings.HasPrefix(k.Source, inlineScheme):
		if k.Set, err = decodeInline(k.Source); err != nil {
			return err
		}
	default:
		if k.Set, err = readFile(k.Source, maxSigningFile); err != nil {
			return fmt.Errorf("signing_keys: %w", err)
		}
	}
	k.Parsed, err = credential.ParseSigningKeys(k.Set, k.Active)
	return err
}

// decodeInline decodes base64 in either alphabet, padded or not. The error repeats nothing of it.
func decodeInline(source string) ([]byte, error) {
	text := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimPrefix(source, inlineScheme))
	set, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(set) == 0 {
		return nil, fmt.Errorf("signing_keys: what follows %s is not base64", inlineScheme)
	}
	return set, nil
}

// readFile reads a file that is not larger than a limit.
func readFile(path string, limit int64) (content []byte, err error) {
	file, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	content, err = io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return content, nil
}
