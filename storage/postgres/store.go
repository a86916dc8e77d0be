package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

const (
	// lockWait is how long a change waits for other nodes' transactions, since it was asked for.
	lockWait = 5 * time.Second
	// commitTimeout bounds one transaction: a server that does not answer is given up.
	commitTimeout = 30 * time.Second
)

// Options are the settings of a [Store]. The zero value is ready to use.
type Options struct {
	// Logger is told of migrations, and when the database begins to fail or works again. nil: nothing is logged.
	Logger *zap.Logger

	hooks         sqlstore.Hooks
	commitTimeout time.Duration // 0: the constant
	pollInterval  time.Duration // 0: the constant
}

// Store is a [core.Store] on one PostgreSQL database. Its methods do what the interface says.
type Store struct {
	sqlstore.Changes
	sqlstore.Reads

	positions *feed.Positions
	writing   *pgx.ConnConfig
	logger    *zap.Logger
	pool      *pgxpool.Pool
	replicas  *replicas
	group     *sqlstore.GroupCommit
	watcher   *watcher
	notifier  *notifier

	stop    context.CancelFunc // of the watcher and the notifier
	closing chan struct{}
	once    sync.Once
}

var _ core.Store = (*Store)(nil)

// Open opens the database that a DSN without its scheme names, and migrates its schema. ctx bounds the opening only. A
// database with a newer schema on which this build may not run is [core.FailedPrecondition]; one that cannot be reached
// or written is [core.Unavailable].
func Open(ctx context.Context, location string, opts Options) (*Store, error) {
	s, err := open(ctx, location, opts)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", Display(location), translate(err))
	}
	return s, nil
}

func open(ctx context.Context, location string, opts Options) (_ *Store, err error) {
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	t, err := parseDSN(location)
	if err != nil {
		return nil, core.WrapError(core.BadRequest, err.Error(), err)
	}
	if err := migrate(ctx, t, opts.Logger); err != nil {
		return nil, err
	}
	s := &Store{
		positions: new(feed.Positions), writing: t.pool.ConnConfig, logger: opts.Logger, closing: make(chan struct{}),
		stop: func() {},
	}
	if err := s.connect(ctx, t, opts); err != nil {
		s.disconnect()
		return nil, err
	}
	// The goroutines belong to the store, not to whoever opens it: they end in Close.
	s.group.Start(ctx)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go s.watcher.run(running)
	go s.notifier.run(running)
	return s, nil
}

// connect opens the connections: one that writes, one that watches, and the pools that read.
func (s *Store) connect(ctx context.Context, t *target, opts Options) error {
	var err error
	if s.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), t.pool); err != nil {
		return err
	}
	s.watcher = newWatcher(t, s.positions, opts)
	begin, err := s.watcher.begin(ctx)
	if err != nil {
		return err
	}
	s.notifier = newNotifier(s.pool)
	d := dialect(func() time.Duration { return time.Duration(s.watcher.ahead.Load()) })
	s.group = sqlstore.NewGroupCommit(sqlstore.GroupCommitOptions{
		Dial: s.dial, Dialect: d, Positions: s.positions, Logger: opts.Logger,
		LockWait: lockWait, Timeout: cmp.Or(opts.commitTimeout, commitTimeout),
		Changed: s.notifier.changed, Hooks: opts.hooks,
		Check: func() error { return nil }, Rewound: s.rewound,
	})
	s.Changes = s.group.Changes()
	if _, err = s.group.Connect(ctx); err != nil {
		return err
	}
	if s.replicas, err = openReplicas(context.WithoutCancel(ctx), t.replicas, s.positions, opts.Logger); err != nil {
		return err
	}
	s.replicas.begin = begin
	reader, err := sqlstore.NewReader(ctx, preparer{s.pool}, d)
	if err != nil {
		return err
	}
	events, err := sqlstore.NewFeed(ctx, preparer{s.pool})
	if err != nil {
		return err
	}
	s.Reads = sqlstore.NewReads(s.read, reader, events)
	return nil
}

// dial opens the connection that writes.
func (s *Store) dial(ctx context.Context) (sqlstore.Conn, error) {
	c, err := connect(ctx, s.writing)
	if err != nil {
		return nil, err
	}
	if err := adopt(ctx, c, s.logger); err != nil {
		discard(c)
		return nil, err
	}
	return conn{preparer{c}, c}, nil
}

// rewound is the error of changes into a feed that ends before what was read of it, which the watcher mends.
func (s *Store) rewound() error {
	return core.NewError(core.Unavailable, "the database was restored to an earlier state; try again")
}

// disconnect closes all connections that connect opened.
func (s *Store) disconnect() {
	if s.watcher != nil {
		s.watcher.drop()
	}
	if s.group != nil {
		s.group.Disconnect()
	}
	if s.replicas != nil {
		s.replicas.close()
	}
	if s.pool != nil {
		s.pool.Close()
	}
}

// Close ends the store. Changes that were accepted are committed, look-ups under way end, and the goroutines have ended
// when it returns. Later calls do nothing.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.group.Stop()
		close(s.closing)
		s.stop()
		<-s.watcher.done
		<-s.notifier.done
		s.disconnect()
	})
	return nil
}

// Get returns a key, from a replica that has come far enough if there is one.
func (s *Store) Get(ctx context.Context, network core.NetworkID, keyID string) (k core.Key, err error) {
	err = s.look(ctx, network, []string{keyID}, func(ctx context.Context, r *sqlstore.Reader) error {
		k, err = r.Get(ctx, network, keyID)
		return err
	})
	if errors.Is(err, errNoReplica) {
		return s.Reads.Get(ctx, network, keyID)
	}
	return k, err
}

// GetMany returns those of the named keys that exist, from a replica that has come far enough if there is one.
func (s *Store) GetMany(
	ctx context.Context, network core.NetworkID, keyIDs []string,
) (found map[string]core.Key, err error) {
	err = s.look(ctx, network, keyIDs, func(ctx context.Context, r *sqlstore.Reader) error {
		found, err = r.GetMany(ctx, network, keyIDs)
		return err
	})
	if errors.Is(err, errNoReplica) {
		return s.Reads.GetMany(ctx, network, keyIDs)
	}
	return found, err
}

// errNoReplica means that the primary is asked.
var errNoReplica = errors.New("no replica has answered")

func (s *Store) look(
	ctx context.Context, network core.NetworkID, keyIDs []string, look func(context.Context, *sqlstore.Reader) error,
) error {
	if len(s.replicas.all) == 0 {
		return errNoReplica
	}
	return s.read(ctx, func(ctx context.Context) error {
		if answered, err := s.replicas.look(ctx, network, keyIDs, look); answered {
			return err
		}
		return errNoReplica
	})
}

// PruneEvents removes the oldest events.
func (s *Store) PruneEvents(ctx context.Context, before time.Time, keep int) (removed int, err error) {
	return sqlstore.PruneEvents(ctx, s.Reads, s.Changes, before, keep)
}

// Positions is the table that changes are applied to.
func (s *Store) Positions() *feed.Positions { return s.positions }

// Ping looks a key up that there is not: what it needs is what every look-up needs, the schema too.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.Reads.Get(ctx, core.NetworkID{}, "")
	if core.ReasonOf(err) == core.KeyNotFound {
		return nil
	}
	return err
}

// read runs a look-up.
func (s *Store) read(ctx context.Context, look func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return translate(err)
	}
	select {
	case <-s.closing:
		return sqlstore.ClosedError()
	default:
	}
	err := look(ctx)
	// After the server was stopped, any connection of the pool may be one that is lost: a look-up is tried on another.
	for range s.pool.Config().MaxConns {
		if ctx.Err() != nil || !isLost(err) {
			break
		}
		err = look(ctx)
	}
	switch {
	case errors.Is(err, errNoReplica):
		return err
	case err != nil && ctx.Err() != nil:
		err = ctx.Err() // it is what broke the look-up off
	case err != nil && !isRefusal(err):
		select {
		case <-s.closing: // it met a pool that was being closed
			return sqlstore.ClosedError()
		default:
		}
	}
	return translate(err)
}
