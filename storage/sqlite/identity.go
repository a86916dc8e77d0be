package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
)

// What is wrong with a file that is not the one that is open, and what the operator can do.
const (
	removed = "a file of the database was removed while in use: put it back, or restart the node to begin with what " +
		"is at the path now"
	replaced = "a file of the database was replaced while in use: put the original one back, or restart the node to " +
		"use the new one, and before it starts remove -wal and -shm of the one before, which would damage the new one"
	unseen  = "the path of the database cannot be followed: mend its permissions or mounts"
	rewound = "the database was restored to an earlier state while in use: restart the node to use what it holds now"
)

var errRewound = errors.New("the feed of changes ends before what was read of it")

// identity reports whether the path of a database leads to the files that the store has open. A change that is
// committed into other files would be lost with the process. It may be used from several goroutines.
type identity struct {
	logger *zap.Logger
	files  []openFile // the database first

	rewound atomic.Bool // see [identity.rewind]

	mu    sync.Mutex
	wrong string // what is wrong; empty: nothing

	// Why nothing can be read, or nil. While the files are only gone, nobody acknowledges a change, and what the open
	// ones hold is true. Once others are in their place, another process may have changed those; and in a database that
	// was restored, changes get positions that verdicts in memory are believed beyond.
	unreadable atomic.Pointer[core.Error]
}

// openFile is one of the files of a database.
type openFile struct {
	path string
	info os.FileInfo
}

// identify notes which file a path leads to, as it was given: a link on the way may later lead elsewhere.
func identify(path string, logger *zap.Logger) (*identity, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("path of the database: %w", err)
	}
	i := &identity{logger: logger}
	if err := i.add(path); err != nil {
		return nil, err
	}
	return i, nil
}

// add notes one more file. No connection may be in use that checks the identity.
func (i *identity) add(path string) error {
	f := openFile{path: path}
	var err error
	if f.info, err = os.Stat(f.path); err != nil {
		return fmt.Errorf("identify the file: %w", err)
	}
	i.files = append(i.files, f)
	return nil
}

// check returns nil when all files are in their places, and logs when that changes. Its error is [core.Unavailable].
func (i *identity) check() error {
	wrong, cause := "", error(nil)
	for _, f := range i.files {
		info, err := os.Stat(f.path)
		switch {
		case err == nil && os.SameFile(f.info, info), wrong == replaced:
		case err == nil:
			wrong, cause = replaced, fmt.Errorf("%s is another file", f.path)
		case errors.Is(err, fs.ErrNotExist):
			wrong, cause = removed, err
		default:
			wrong, cause = unseen, err
		}
	}
	if i.rewound.Load() {
		wrong, cause = rewound, errRewound
	}
	if wrong == "" {
		i.note(wrong, nil)
		return nil
	}
	e := core.WrapError(core.Unavailable, wrong, cause)
	i.note(wrong, e)
	return e
}

// rewind notes that the content of the files is older than what was read of it, which a restart alone can mend. It
// returns the error that says so.
func (i *identity) rewind() error {
	i.rewound.Store(true)
	return i.check()
}

// look checks the files, and returns nil unless their content cannot be used.
func (i *identity) look() error {
	_ = i.check() // it is in the log
	return i.readable()
}

// note takes in the outcome of a check.
func (i *identity) note(wrong string, e *core.Error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if wrong == i.wrong {
		return
	}
	i.wrong = wrong
	i.unreadable.Store(nil)
	switch wrong {
	case "":
		i.logger.Info("the database file is back", zap.String("path", i.files[0].path))
		return
	case replaced, rewound:
		i.unreadable.Store(e)
	}
	i.logger.Error(wrong, zap.String("path", i.files[0].path), zap.Error(e.Err))
}

// readable returns nil unless the content of the files could not be used at the last check.
func (i *identity) readable() error {
	if e := i.unreadable.Load(); e != nil {
		return e
	}
	return nil
}

// identified is a connector whose connections are to the files of an identity.
type identified struct {
	driver.Connector
	identity *identity
}

// Connect opens a connection, and closes it if the path led elsewhere meanwhile. It opens none when a file is missing:
// SQLite would put a new, empty one in the place of the write-ahead log.
func (c identified) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.identity.check(); err != nil {
		return nil, err
	}
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.identity.check(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
