package node

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/talos-edge/talos-edge/core/credential"
)

// inlineScheme begins signing keys that stand in the configuration itself.
const inlineScheme = "base64://"

// maxSigningFile is the size of the largest file with signing keys, in bytes.
const maxSigningFile = 1 << 20

// signingKeys are the keys that sign derived JWTs, as they are configured.
type signingKeys struct {
	source string // a file or inlineScheme and base64; empty: generated
	active string // the kid of the key that signs; empty: the first private one

	set    []byte // what the source holds, once it was read
	parsed *credential.SigningKeys
}

// check finds what is wrong with keys that stand in the configuration. A file is not read yet.
func (k *signingKeys) check() error {
	switch {
	case k.source == "" && k.active != "":
		return errors.New("signing_keys: an active kid without keys")
	case !strings.HasPrefix(k.source, inlineScheme):
		return nil
	}
	set, err := decodeInline(k.source)
	if err != nil {
		return err
	}
	_, err = credential.ParseSigningKeys(set, k.active) // names what it is about
	return err
}

// read fetches the keys from where they are configured to be. Those that are kept in Caddy's storage must be there.
func (k *signingKeys) read() (err error) {
	switch {
	case k.source == "":
	case strings.HasPrefix(k.source, inlineScheme):
		if k.set, err = decodeInline(k.source); err != nil {
			return err
		}
	default:
		if k.set, err = readFile(k.source, maxSigningFile); err != nil {
			return fmt.Errorf("signing_keys: %w", err)
		}
	}
	k.parsed, err = credential.ParseSigningKeys(k.set, k.active)
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
