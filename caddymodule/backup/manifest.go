package backup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/talos-edge/talos-edge/storage"
)

// formatVersion is that of the archive.
const formatVersion = 1

// Manifest says what is in an archive. It holds no secret.
type Manifest struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Writer  string    `json:"writer"` // the build that wrote it

	Database Database `json:"database"`

	// Secrets say for "hmac_secret" and "signing_keys", where there are several networks for those of each, where they
	// are: "included", or what has to be kept beside the backup.
	Secrets map[string]string `json:"secrets"`

	Files []File `json:"files"`

	shared bool // see Shared
}

// Shared reports whether the database that was copied is one that nodes on several machines can use.
func (m *Manifest) Shared() bool { return m.shared }

// Database describes the copy of the database.
type Database struct {
	Source        string     `json:"source"`         // its DSN, or its name and host
	SchemaVersion int64      `json:"schema_version"` // a build that knows it can open the copy
	Keys          int64      `json:"keys"`
	FeedPosition  uint64     `json:"feed_position"` // of the last change in the copy; 0: there is none
	LastChange    *time.Time `json:"last_change,omitempty"`
}

// File is a file of an archive.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// included is where a secret is that is part of the archive.
const included = "included"

func newManifest(writer, source string, s *storage.State) *Manifest {
	shared := storage.Shared(source)
	if shared { // its DSN may have a password
		source = storage.Display(source)
	}
	m := &Manifest{
		Format: formatVersion, Created: time.Now().UTC().Truncate(time.Second), Writer: writer,
		Database: Database{Source: source, SchemaVersion: s.Version, Keys: s.Keys, FeedPosition: s.Position},
		Secrets:  map[string]string{},
		shared:   shared,
	}
	if !s.Changed.IsZero() {
		m.Database.LastChange = &s.Changed
	}
	return m
}

// Missing says for each secret that is not in the archive what has to be kept beside it.
func (m *Manifest) Missing() []string {
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(m.Secrets)) {
		if where := m.Secrets[name]; where != included {
			missing = append(missing, name+": "+where)
		}
	}
	return missing
}

func (m *Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// noteText is the note in the archive.
const noteText = `A backup of a Talos Edge node, made at {{.Created.Format "2006-01-02T15:04:05Z07:00"}}.

To restore it:

 1. Stop every process that uses the database, above all the node.
 2. Unpack this archive in Caddy's data directory, as the user that runs the node:

        tar -xf BACKUP.tar -C "${XDG_DATA_HOME:-$HOME/.local/share}/caddy"

    Is the database elsewhere (storage, TALOS_DB_DSN)? Then move talos.db to its
    place, and delete the files of the same name with -wal and -shm there. Are
    Caddy's files elsewhere (its option storage)? Then move the folder talos there.
    talos.db-wal is empty on purpose: it replaces one that would damage talos.db.
{{if .Shared}}
    The database was not in a file: copy talos.db into a new, empty one of its kind.

        talos copy --from sqlite://talos.db --to DSN

{{end}} 3. Give the node the secrets that are not in this archive:
{{range .Missing}}        {{.}}
{{else}}        none, all are here.
{{end}} 4. Start the node. Changes since the backup are lost: keys that were revoked since
    then are active again. Revoke them anew before you open the node to others.

manifest.json names the files with their SHA-256 digests. Whoever has this archive
can make keys that this node takes: keep it as you keep the secrets.
`

func (m *Manifest) note() ([]byte, error) {
	t, err := template.New("note").Parse(noteText)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, m); err != nil {
		return nil, fmt.Errorf("writing the note: %w", err)
	}
	return b.Bytes(), nil
}

// maxListed is how many secrets a summary names.
const maxListed = 2

// Summary says in a line what an archive holds.
func (m *Manifest) Summary() string {
	what := fmt.Sprintf("%d keys, up to change %d", m.Database.Keys, m.Database.FeedPosition)
	var with []string
	for _, name := range slices.Sorted(maps.Keys(m.Secrets)) {
		if m.Secrets[name] == included {
			with = append(with, name)
		}
	}
	switch {
	case len(with) == 0:
		return what + ", without secrets"
	case len(with) > maxListed:
		return fmt.Sprintf("%s, with %d secrets", what, len(with))
	default:
		return what + ", with " + strings.Join(with, " and ")
	}
}
