package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const insertEvent = `INSERT INTO events (network, key_id, key_kind, actor_id, kind, time, reason, related_key_id, ` +
	`caller_kind, caller_id, caller_user, request_id) ` +
	`VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING seq`

// Writer changes keys. Its statements run in the transaction of the connection that it was prepared on, and a method
// that returns an error may have changed something: the caller rolls back, to a savepoint or as a whole. Methods return
// the events of what they changed, in the order of their positions.
type Writer struct {
	prepared
	get, byRequest, live, event, key, remove, used, check, newCheck, nextCheck *sql.Stmt

	revoke, update, state, lineage *sql.Stmt

	counted, uncounted *sql.Stmt // one issued key with a prefix more, or fewer

	oldest, pruned *sql.Stmt // of the events

	node, noNode, noNodes, awaited  *sql.Stmt // processes on the database
	reader, claimReader, saveReader *sql.Stmt
}

// NewWriter prepares a Writer. Whoever does closes it.
func NewWriter(ctx context.Context, p Preparer) (*Writer, error) {
	w := &Writer{}
	var err error
	w.prepared, err = prepare(ctx, p,
		statement{&w.get, selectKey}, statement{&w.byRequest, selectByRequest}, statement{&w.live, countLive},
		statement{&w.event, insertEvent}, statement{&w.key, insertKey}, statement{&w.revoke, updateRevoked},
		statement{&w.update, updateKey}, statement{&w.state, updateState}, statement{&w.lineage, selectLineage},
		statement{&w.remove, deleteKey}, statement{&w.used, updateUsed}, statement{&w.check, selectCheck},
		statement{&w.newCheck, insertCheck}, statement{&w.nextCheck, updateCheck},
		statement{&w.counted, countPrefix}, statement{&w.uncounted, uncountPrefix},
		statement{&w.oldest, selectOldest}, statement{&w.pruned, deleteEvents},
		statement{&w.node, upsertNode}, statement{&w.noNode, deleteNode}, statement{&w.noNodes, deleteNodes},
		statement{&w.awaited, updateAwaited}, statement{&w.reader, selectFeedReader},
		statement{&w.claimReader, claimFeedReader}, statement{&w.saveReader, saveFeedReader})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// find returns a key of a kind, or [core.KeyNotFound].
func (w *Writer) find(ctx context.Context, network core.NetworkID, kind core.Kind, keyID string) (core.Key, error) {
	k, found, err := oneKey(ctx, w.get, network, network[:], keyID)
	if err != nil {
		return core.Key{}, err
	}
	if !found || kind != core.AnyKind && kind != k.Kind {
		return core.Key{}, errNotFound()
	}
	return k, nil
}

// eventOf is what happened to a key.
func eventOf(k *core.Key, kind feed.EventKind, at time.Time) feed.Event {
	return feed.Event{
		Network: k.Network, KeyID: k.ID, KeyKind: uint8(k.Kind), ActorID: k.ActorID, Kind: kind, Time: at,
	}
}

// write adds an event to the feed and gives it its caller, its position and its time as stored.
func (w *Writer) write(ctx context.Context, e *feed.Event) error {
	micros := e.Time.UnixMicro()
	e.Time = time.UnixMicro(micros).UTC()
	e.Caller = core.CallerOf(ctx)
	return each(ctx, w.event, func(rows *sql.Rows) error {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		var err error
		e.Position, err = position(seq)
		return err
	}, e.Network[:], e.KeyID, int64(e.KeyKind), e.ActorID, int64(e.Kind), micros, int64(e.Reason), e.Related,
		int64(e.Caller.Kind), e.Caller.ID, e.Caller.User, e.Caller.RequestID)
}
