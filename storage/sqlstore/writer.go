package sqlstore

import (
	"context"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// Writer changes keys. Its statements run in the transaction of the connection that it was prepared on, and a method
// that returns an error may have changed something: the caller rolls back, to a savepoint or as a whole. An error with
// a meaning ([core.Error]) comes before anything is changed.
//
// What every change writes, its events and how many keys there are with a prefix, is written at the end of the
// transaction ([Writer.Finish]): rows that all transactions write are locked for as short as can be.
type Writer struct {
	prepared
	dialect *Dialect

	get, byRequest, quota, live, key, remove, used Statement
	many                                           Statement // nil: keys are inserted one by one
	check, newCheck, nextCheck                     Statement

	revoke, update, state, lineage Statement

	newest, event      Statement // of the events
	counted, uncounted Statement // so many issued keys with a prefix more, or fewer
	oldest, pruned     Statement // of the events

	node, noNode, noNodes, awaited Statement // processes on the database
	claimReader, saveReader        Statement

	network, newNetwork, setNetwork, networkHost, newHost Statement

	transaction
}

// transaction is what is to be written at the end of a transaction.
type transaction struct {
	last     int64 // the position of the last event before those of the transaction
	lastRead bool

	events []feed.Event
	counts []prefixChange
}

// NewWriter prepares a Writer. Whoever does closes it.
func NewWriter(ctx context.Context, p Preparer, d *Dialect) (*Writer, error) {
	w := &Writer{dialect: d}
	event := d.AppendEvents
	if event == "" {
		event = insertEvent
	}
	statements := []statement{
		{&w.get, selectKey + d.Locked}, {&w.byRequest, selectByRequest}, {&w.live, countLive},
		{&w.key, insertKey(d)}, {&w.revoke, updateRevoked},
		{&w.update, updateKey}, {&w.state, updateState}, {&w.lineage, selectLineage},
		{&w.remove, deleteKey}, {&w.used, updateUsed}, {&w.check, selectCheck + d.Locked},
		{&w.newCheck, insertCheck}, {&w.nextCheck, updateCheck},
		{&w.newest, selectLast}, {&w.event, event},
		{&w.counted, countPrefix}, {&w.uncounted, uncountPrefix},
		{&w.oldest, selectOldest}, {&w.pruned, deleteEvents},
		{&w.node, upsertNode}, {&w.noNode, deleteNode}, {&w.noNodes, deleteNodes},
		{&w.awaited, updateAwaited}, {&w.claimReader, claimFeedReader}, {&w.saveReader, saveFeedReader},
		{&w.network, selectNetwork}, {&w.newNetwork, insertNetwork}, {&w.setNetwork, suspendNetwork},
		{&w.networkHost, selectHost}, {&w.newHost, insertHost},
	}
	if d.Arrays {
		statements = append(statements, statement{&w.many, insertKeys(d)})
	}
	if d.LockQuota != "" {
		statements = append(statements, statement{&w.quota, d.LockQuota})
	}
	var err error
	if w.prepared, err = prepare(ctx, p, statements...); err != nil {
		return nil, err
	}
	return w, nil
}

// begin begins to collect what a transaction writes at its end.
func (w *Writer) begin() { w.transaction = transaction{} }

// mark notes what there is to write before a change, which undo goes back to when the change has failed.
func (w *Writer) mark() transaction { return w.transaction }

func (w *Writer) undo(before transaction) {
	before.last, before.lastRead = w.last, w.lastRead
	w.transaction = before
}

// Finish writes what was collected, and returns the events with their positions. Where other transactions write too,
// they wait from here on to the commit.
func (w *Writer) Finish(ctx context.Context) ([]feed.Event, error) {
	if err := w.countPrefixes(ctx); err != nil {
		return nil, err
	}
	if len(w.events) == 0 {
		return nil, nil
	}
	if err := w.writeEvents(ctx); err != nil {
		return nil, err
	}
	return w.events, nil
}

// find returns a key of a kind, or [core.KeyNotFound]. No other transaction changes it before this one ends.
func (w *Writer) find(ctx context.Context, network core.NetworkID, kind core.Kind, keyID string) (core.Key, error) {
	if !isKeyID(keyID) {
		return core.Key{}, errNotFound()
	}
	k, found, err := oneKey(ctx, w.get, network, network[:], keyID)
	if err != nil {
		return core.Key{}, err
	}
	if !found || kind != core.AnyKind && kind != k.Kind {
		return core.Key{}, errNotFound()
	}
	return k, nil
}
