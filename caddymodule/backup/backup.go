package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/talos-edge/talos-edge/caddymodule/internal/secrets"
	"github.com/talos-edge/talos-edge/caddymodule/internal/setup"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/storage"
)

// Options say where a backup goes.
type Options struct {
	File           string // the archive; its folder also takes the copy of the database while that is made
	Force          bool   // replace File if it is there
	WithoutSecrets bool   // leave generated secrets out, and do not compare any with the database

	// Stdout takes the archive in place of File, if that is empty. The copy is then made in the system's folder for
	// temporary files.
	Stdout io.Writer

	// Passphrase encrypts the archive, with at least [MinPassphrase] characters. Empty: it is not encrypted. The copy
	// of the database that the archive is made of is not, while it is made.
	Passphrase string

	Writer string // names the build
}

// Names of the node's options, under which the manifest lists secrets.
const (
	hmacOption    = "hmac_secret"
	signingOption = "signing_keys"
)

// Write writes a backup of the node that a set-up describes. A File that is there, a missing database, a schema newer
// than this build, and secrets that are not those of the database's keys are errors. After an error there is no
// archive, and File is as it was.
func Write(ctx context.Context, s *setup.Setup, o *Options) (m *Manifest, err error) {
	if s.Node.Storage == "" {
		return nil, errors.New("this node is a sidecar: it has no database; back up the node that it asks")
	}
	if err := errors.Join(checkPassphrase(o.Passphrase), o.checkFile()); err != nil {
		return nil, err
	}
	folder, err := o.workFolder()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	database := filepath.Join(folder, "talos.db")
	state, err := storage.Backup(ctx, s.Node.Storage, database)
	if err != nil {
		return nil, err
	}
	m = newManifest(o.Writer, s.Node.Storage, state)
	a := &archive{manifest: m, owner: ownerOf(s.Node.Storage)}
	if err := a.addSecrets(ctx, s, state, o.WithoutSecrets); err != nil {
		return nil, err
	}
	if err := a.addDatabase(database); err != nil {
		return nil, err
	}
	if o.File == "" {
		return m, a.write(ctx, o.Stdout, o.Passphrase)
	}
	return m, a.store(ctx, filepath.Join(folder, "backup.tar"), o)
}

// checkFile refuses a file that is not to be replaced.
func (o *Options) checkFile() error {
	if o.File == "" {
		return nil
	}
	switch info, err := os.Lstat(o.File); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory: name the file to write", o.File)
	case !o.Force:
		return fmt.Errorf("%s exists: name another file, or replace it with --force", o.File)
	default:
		return nil
	}
}

// workFolder makes a folder for the copy, for its owner alone. It is beside the archive, which is moved out of it.
func (o *Options) workFolder() (string, error) {
	if o.File == "" {
		return os.MkdirTemp("", "talos-backup-*")
	}
	return os.MkdirTemp(filepath.Dir(o.File), "."+filepath.Base(o.File)+".partial-*")
}

// store writes the archive to a temporary file, and moves it to its place when it is on the disk.
func (a *archive) store(ctx context.Context, temporary string, o *Options) (err error) {
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // in our own folder
	if err != nil {
		return err
	}
	if err := errors.Join(a.write(ctx, f, o.Passphrase), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	if err := o.checkFile(); err != nil { // somebody may have made it meanwhile
		return err
	}
	if err := os.Rename(temporary, o.File); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(o.File))
}

// addSecrets adds the generated secrets of each network, and notes where the configured ones come from.
func (a *archive) addSecrets(ctx context.Context, s *setup.Setup, state *storage.State, without bool) error {
	checks := map[core.NetworkID][]string{}
	for i := range s.Node.Networks {
		n := &s.Node.Networks[i]
		if without {
			where := a.manifest.Secrets
			where[optionOf(n, hmacOption)] = "left out; without it no issued key verifies"
			where[optionOf(n, signingOption)] = "left out; without it no derived JWT verifies"
			continue
		}
		own, err := a.addSecretsOf(ctx, s, n)
		if err != nil {
			return err
		}
		checks[n.ID] = own
	}
	if without {
		return nil
	}
	return compare(state, checks)
}

// optionOf is the name under which the manifest lists a network's secret.
func optionOf(n *node.NetworkInspection, option string) string {
	if len(n.Hosts) == 0 {
		return option
	}
	return option + " of network " + n.ID.String()
}

// addSecretsOf is addSecrets for one network. It returns the check values of its HMAC secrets.
func (a *archive) addSecretsOf(ctx context.Context, s *setup.Setup, n *node.NetworkInspection) ([]string, error) {
	where, hmac, signing := a.manifest.Secrets, optionOf(n, hmacOption), optionOf(n, signingOption)
	stored, err := secrets.ReadStored(ctx, s.Storage, n.ID)
	if err != nil {
		return nil, err
	}
	checks, hmacSource, signingSource := n.Checks, s.SecretSource, s.SigningKeysSource
	if len(n.Hosts) > 0 {
		hmacSource, signingSource = n.SecretSource, "the option signing_keys"
	}
	switch {
	case len(checks) > 0:
		where[hmac] = "keep it: it comes from " + hmacSource
	case stored.HMAC != nil:
		where[hmac] = included
		a.add(secrets.HMACName(n.ID), stored.HMAC)
		keyring, err := credential.NewKeyring(string(stored.HMAC))
		if err != nil {
			return nil, fmt.Errorf("the generated HMAC secret: %w", err)
		}
		checks = keyring.Checks()
	default:
		where[hmac] = "not generated yet"
	}
	switch {
	case n.SigningKeys:
		where[signing] = "keep them: they come from " + signingSource
	case stored.SigningKeys != nil:
		where[signing] = included
		a.add(secrets.SigningKeysName(n.ID), stored.SigningKeys)
	default:
		where[signing] = "not generated yet"
	}
	return checks, nil
}

// compare refuses secrets that are not those of the stored keys: no key of the backup would verify.
func compare(state *storage.State, checks map[core.NetworkID][]string) error {
	for network, check := range state.Checks {
		if !slices.Contains(checks[network], check) {
			return fmt.Errorf("the HMAC secret that the keys of network %s were made with is neither configured here "+
				"nor in Caddy's storage, so the backup would be of no use: run the command with the configuration and "+
				"the environment of the node, or leave the secrets out with --without-secrets and keep them yourself",
				network)
		}
	}
	return nil
}
