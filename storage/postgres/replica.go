package postgres

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// replicaRest is for how long a replica that failed is not asked.
const replicaRest = time.Second

// errBehind is the error of a replica that has not come as far as a look-up needs.
var errBehind = errors.New("the replica is behind")

// replica is a standby that look-ups are made on. A look-up that must see a change which the standby has not applied
// yet goes to the primary.
type replica struct {
	pool   *pgxpool.Pool
	reader *sqlstore.Reader
	rests  atomic.Int64 // until when it is not asked, in Unix nanoseconds
}

// replicas are those of a database, which take turns.
type replicas struct {
	all       []*replica
	turn      atomic.Uint64
	positions *feed.Positions
	begin     uint64 // the end of the feed when the node began: what came before is not in positions
	logger    *zap.Logger
}

func openReplicas(
	ctx context.Context, configs []*pgxpool.Config, positions *feed.Positions, logger *zap.Logger,
) (*replicas, error) {
	r := &replicas{positions: positions, logger: logger}
	for _, config := range configs {
		pool, err := pgxpool.NewWithConfig(ctx, config) // connects when it is first used
		if err != nil {
			r.close()
			return nil, err
		}
		reader, err := sqlstore.NewReader(ctx, replicaPreparer{pool}, dialect(nil))
		if err != nil {
			r.close()
			return nil, err
		}
		r.all = append(r.all, &replica{pool: pool, reader: reader})
	}
	return r, nil
}

func (r *replicas) close() {
	for _, one := range r.all {
		one.pool.Close()
	}
}

// look calls a look-up of keys on a replica that has come far enough, and reports whether it has answered.
func (r *replicas) look(
	ctx context.Context, network core.NetworkID, keyIDs []string, look func(context.Context, *sqlstore.Reader) error,
) (answered bool, err error) {
	if len(r.all) == 0 {
		return false, nil
	}
	one := r.all[r.turn.Add(1)%uint64(len(r.all))]
	now := time.Now()
	if now.UnixNano() < one.rests.Load() {
		return false, nil
	}
	err = look(context.WithValue(ctx, needed{}, r.needed(network, keyIDs)), one.reader)
	switch {
	case err == nil, isRefusal(err):
		return true, err
	case !errors.Is(err, errBehind) && ctx.Err() == nil:
		one.rests.Store(now.Add(replicaRest).UnixNano())
		r.logger.Debug("a replica failed; the primary is asked", zap.Error(err))
	}
	return false, nil
}

// needed is the position that a look-up must have seen: that of the last change of any of the keys, as far as this node
// knows, and all that was there when it began.
func (r *replicas) needed(network core.NetworkID, keyIDs []string) uint64 {
	at := r.begin
	for _, id := range keyIDs {
		at = max(at, r.positions.At(feed.SlotOf(network, id)))
	}
	return at
}

// needed is the key of a context's value: the position that a replica must have applied.
type needed struct{}

// replicaPreparer makes statements that also read how far the replica has come, before and in the same round trip. What
// they read is at least as new as that.
type replicaPreparer struct{ pool *pgxpool.Pool }

// Prepare returns a statement.
func (p replicaPreparer) Prepare(_ context.Context, query string) (sqlstore.Statement, error) {
	return replicaStatement{statement{p.pool, query}, p.pool}, nil
}

type replicaStatement struct {
	statement
	pool *pgxpool.Pool
}

// Query runs the statement, or returns errBehind.
func (s replicaStatement) Query(ctx context.Context, args ...any) (sqlstore.Rows, error) {
	batch := &pgx.Batch{}
	batch.Queue("SELECT last FROM feed_last")
	batch.Queue(s.query, args...)
	results := s.pool.SendBatch(ctx, batch)
	var last int64
	if err := results.QueryRow().Scan(&last); err != nil {
		return nil, errors.Join(err, results.Close())
	}
	if at, _ := ctx.Value(needed{}).(uint64); last < 0 || uint64(last) < at {
		return nil, errors.Join(errBehind, results.Close())
	}
	r, err := results.Query()
	if err != nil {
		return nil, errors.Join(err, results.Close())
	}
	return rows{r, results}, nil
}
