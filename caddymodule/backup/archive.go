package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"time"

	"github.com/talos-edge/talos-edge/storage"
)

// noteFolder is the folder of the archive with what describes it.
const noteFolder = "talos-backup/"

// archive is what goes into the tar file. Unpacked in Caddy's data directory, everything is in the place where a node
// without configuration has it.
type archive struct {
	manifest *Manifest
	owner    owner
	contents []content
}

// content is a file of the archive, in memory or on the disk.
type content struct {
	name string
	data []byte
	path string // of the file, if it is on the disk
	size int64
}

// owner is the user whom the files belong to when root unpacks them.
type owner struct{ uid, gid int }

// add adds a file that is in memory, and lists it in the manifest.
func (a *archive) add(name string, data []byte) {
	a.contents = append(a.contents, content{name: name, data: data, size: int64(len(data))})
	sum := sha256.Sum256(data)
	a.manifest.Files = append(a.manifest.Files,
		File{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])})
}

// addDatabase adds the copy of the database, and an empty write-ahead log: one that an earlier database has left would
// be taken for the copy's own, and damage it.
func (a *archive) addDatabase(file string) (err error) {
	f, err := os.Open(file) //nolint:gosec // in our own folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return fmt.Errorf("reading the copy of the database: %w", err)
	}
	const name = "talos.db"
	a.contents = append(a.contents, content{name: name, path: file, size: size})
	a.manifest.Files = append(a.manifest.Files, File{Name: name, Size: size, SHA256: hex.EncodeToString(h.Sum(nil))})
	a.add(name+"-wal", nil)
	return nil
}

// write writes the archive, encrypted if there is a passphrase.
func (a *archive) write(ctx context.Context, w io.Writer, passphrase string) error {
	e, err := encrypted(w, passphrase)
	if err != nil {
		return err
	}
	if err := a.writeTar(ctx, e); err != nil {
		return err
	}
	return e.Close()
}

// writeTar writes the tar file, the description first.
func (a *archive) writeTar(ctx context.Context, w io.Writer) error {
	manifest, err := a.manifest.encode()
	if err != nil {
		return err
	}
	note, err := a.manifest.note()
	if err != nil {
		return err
	}
	all := append([]content{
		{name: noteFolder + "README.txt", data: note, size: int64(len(note))},
		{name: noteFolder + "manifest.json", data: manifest, size: int64(len(manifest))},
	}, a.contents...)
	t := tar.NewWriter(w)
	folders := map[string]bool{}
	for i := range all {
		if folder := path.Dir(all[i].name) + "/"; folder != "./" && !folders[folder] {
			folders[folder] = true
			if err := t.WriteHeader(a.header(tar.TypeDir, folder, 0o700, 0)); err != nil {
				return err
			}
		}
		if err := t.WriteHeader(a.header(tar.TypeReg, all[i].name, 0o600, all[i].size)); err != nil {
			return err
		}
		if err := all[i].copyTo(ctx, t); err != nil {
			return err
		}
	}
	return t.Close()
}

func (a *archive) header(kind byte, name string, mode, size int64) *tar.Header {
	return &tar.Header{
		Typeflag: kind, Name: name, Mode: mode, Size: size, ModTime: a.manifest.Created,
		Uid: a.owner.uid, Gid: a.owner.gid, Format: tar.FormatPAX, AccessTime: time.Time{},
	}
}

func (c *content) copyTo(ctx context.Context, w io.Writer) (err error) {
	if c.path == "" {
		_, err := io.Copy(w, bytes.NewReader(c.data))
		return err
	}
	f, err := os.Open(c.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(w, untilDone(ctx, f))
	return err
}

// untilDone reads from r until ctx ends.
func untilDone(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// ownerOf is the owner of a database's file, or root if that is not known or there is none.
func ownerOf(dsn string) owner {
	info, err := os.Stat(storage.Display(dsn))
	if err != nil {
		return owner{}
	}
	return ownerOfFile(info)
}

// syncFolder makes a new name in a folder durable, where the system has that.
func syncFolder(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(name) //nolint:gosec // the folder of the operator's own file
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
