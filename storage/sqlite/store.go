package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"
	"modernc.org/sqlite"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

const (
	// busyTimeout is how long a change waits for other processes' transactions, since it was asked for.
	busyTimeout = 5 * time.Second
	// minReaders is how many look-ups can run at once on a machine with fewer cores.
	minReaders = 4
)

// Options are the settings of a [Store]. The zero value is ready to use.
type Options struct {
	// Logger is told of migrations, and when the file begins to fail or works again. nil: nothing is logged.
	Logger *zap.Logger

	busyTimeout time.Duration // 0: busyTimeout
	queue       int           // 0: what a group commit takes
	rest        time.Duration // 0: restInterval
	hooks       sqlstore.Hooks
}

// Store is a [core.Store] on one SQLite file. Its methods do what the interface says.
type Store struct {
	sqlstore.Changes
	sqlstore.Reads

	positions *feed.Positions
	identity  *identity
	writing   *sql.DB
	group     *sqlstore.GroupCommit
	watcher   *watcher
	readers   *sql.DB
	prepared  []io.Closer // on readers

	slots    chan struct{} // one element for each look-up under way
	closing  chan struct{}
	once     sync.Once
	closeErr error
}

var _ core.Store = (*Store)(nil)

// Open opens the database file at path, creates it when it is missing (0600; its directories 0700) and migrates its
// schema. A copy that [Backup] made becomes a database of its own, whose feed of changes continues at a new position.
// ctx bounds the opening only. A database with a schema newer than this build's is [core.FailedPrecondition];
// a file that cannot be created, opened, locked or written is [core.Unavailable].
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	s, err := open(ctx, path, opts)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, translate(err))
	}
	return s, nil
}

func open(ctx context.Context, path string, opts Options) (_ *Store, err error) {
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if opts.busyTimeout == 0 {
		opts.busyTimeout = busyTimeout
	}
	if opts.rest == 0 {
		opts.rest = restInterval
	}
	given := path
	if path, err = Canonical(path); err != nil {
		return nil, err
	}
	if err := createFile(path); err != nil {
		return nil, err
	}
	if err := migrate(ctx, path, opts.Logger); err != nil {
		return nil, err
	}
	if err := adoptCopy(ctx, path, opts.Logger); err != nil {
		return nil, err
	}
	s := &Store{positions: new(feed.Positions), closing: make(chan struct{})}
	if s.identity, err = identify(given, opts.Logger); err != nil {
		return nil, err
	}
	if err := s.connect(ctx, path, opts); err != nil {
		return nil, errors.Join(err, s.disconnect())
	}
	// The goroutines belong to the store, not to whoever opens it: they end in Close.
	s.group.Start(ctx)
	go s.watcher.run(context.WithoutCancel(ctx), s.closing)
	return s, nil
}

// connect opens the connections: one that writes, one that watches, and the pool that reads.
func (s *Store) connect(ctx context.Context, path string, opts Options) error {
	wait := opts.busyTimeout
	size := max(minReaders, runtime.GOMAXPROCS(0))
	s.slots = make(chan struct{}, size)

	var err error
	if s.writing, err = s.pool(uri(path, 0), 1); err != nil {
		return err
	}
	s.group = sqlstore.NewGroupCommit(sqlstore.GroupCommitOptions{
		Dial: s.dial, Dialect: dialect(), Positions: s.positions, Logger: opts.Logger,
		LockWait: wait, MaxQueue: opts.queue, Check: s.identity.check, Rewound: s.identity.rewind, Hooks: opts.hooks,
	})
	s.Changes = s.group.Changes()
	err = whenFree(ctx, opts.Logger, path, openWait, func() error {
		_, err := s.group.Connect(ctx)
		return err
	})
	if err != nil {
		return err
	}
	watching, err := s.pool(uri(path, watchWait, "query_only(1)"), 1)
	if err != nil {
		return err
	}
	s.watcher = &watcher{
		db: watching, positions: s.positions, identity: s.identity, rest: opts.rest, done: make(chan struct{}),
		health: &sqlstore.Health{Logger: opts.Logger, What: "watching the database for changes"},
	}
	if err := s.watcher.begin(ctx); err != nil {
		return err
	}
	if s.readers, err = s.pool(uri(path, wait, "query_only(1)", "cache_size(-8192)"), size); err != nil {
		return err
	}
	if err := fill(ctx, s.readers, size); err != nil {
		return err
	}
	reader, err := sqlstore.NewReader(ctx, sqlstore.SQLPreparer{On: s.readers}, dialect())
	if err != nil {
		return err
	}
	s.prepared = append(s.prepared, reader)
	events, err := sqlstore.NewFeed(ctx, sqlstore.SQLPreparer{On: s.readers})
	if err != nil {
		return err
	}
	s.prepared = append(s.prepared, events)
	s.Reads = sqlstore.NewReads(s.read, reader, events)
	// SQLite has opened these with the first statement. They stay while a connection is open.
	return errors.Join(s.identity.add(path+"-wal"), s.identity.add(path+"-shm"), s.identity.check())
}

// dial opens the connection that writes.
func (s *Store) dial(ctx context.Context) (sqlstore.Conn, error) {
	return sqlstore.SQLConn(ctx, s.writing)
}

// pool opens a pool of at most size connections to the store's file, which it keeps.
func (s *Store) pool(name string, size int) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(name)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(identified{connector, s.identity})
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db, nil
}

// fill opens all connections of a pool: none can be opened any more once a file of the database is gone.
func fill(ctx context.Context, db *sql.DB, size int) error {
	var conns []*sql.Conn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close() // it goes back to the pool
		}
	}()
	for range size {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		conns = append(conns, conn)
	}
	return nil
}

// disconnect closes all connections that connect opened, the one that writes last: whoever closes the file's last
// connection moves the write-ahead log into the file.
func (s *Store) disconnect() error {
	var err error
	for _, p := range s.prepared {
		err = errors.Join(err, p.Close())
	}
	if s.readers != nil {
		err = errors.Join(err, s.readers.Close())
	}
	if s.watcher != nil {
		s.watcher.drop()
		err = errors.Join(err, s.watcher.db.Close())
	}
	if s.group != nil {
		s.group.Disconnect()
	}
	if s.writing != nil {
		err = errors.Join(err, s.writing.Close())
	}
	return err
}

// Close ends the store. Changes that were accepted are committed, look-ups under way end, and the goroutines have
// ended when it returns. Later calls do nothing and return the same.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.group.Stop()
		close(s.closing)
		<-s.watcher.done
		for range cap(s.slots) {
			s.slots <- struct{}{}
		}
		if err := s.disconnect(); err != nil {
			s.closeErr = translate(err)
		}
	})
	return s.closeErr
}

// PruneEvents removes the oldest events.
func (s *Store) PruneEvents(ctx context.Context, before time.Time, keep int) (removed int, err error) {
	return sqlstore.PruneEvents(ctx, s.Reads, s.Changes, before, keep)
}

// Positions is the table that changes are applied to.
func (s *Store) Positions() *feed.Positions { return s.positions }

// Ping looks a key up that there is not: what it needs is what every look-up needs, the schema too. What changes need
// beyond that is that the file is in its place.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.identity.check(); err != nil {
		return err
	}
	if _, err := s.Get(ctx, core.NetworkID{}, ""); err != nil && core.ReasonOf(err) != core.KeyNotFound {
		return err
	}
	return nil
}

// read runs a look-up when one of the pool's connections is free.
func (s *Store) read(ctx context.Context, look func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return translate(err)
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return translate(ctx.Err())
	case <-s.closing:
		return sqlstore.ClosedError()
	}
	defer func() { <-s.slots }()
	select {
	case <-s.closing:
		return sqlstore.ClosedError()
	default:
	}
	if err := s.identity.readable(); err != nil {
		return err
	}
	err := look(ctx)
	if isInterrupted(err) && ctx.Err() != nil {
		err = ctx.Err() // it is what broke the look-up off
	}
	return translate(err)
}
