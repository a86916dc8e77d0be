package transfer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// Follow says when a copy that follows its source ends. It never does while a node uses the source.
type Follow struct {
	// UntilIdle ends it when the source had no change for so long. 0: only Finish ends it.
	UntilIdle time.Duration
	// Finish ends it when the channel is closed. nil: only UntilIdle ends it.
	Finish <-chan struct{}
}

const (
	// pollInterval is how often the source is asked for changes.
	pollInterval = 100 * time.Millisecond
	// chunk is how many events, or keys, are held in memory at once.
	chunk = 1000
)

// errMoved means that the source is still in use.
var errMoved = errors.New("the source has changed meanwhile")

// run follows the source until it is no more in use, and completes the copy.
func (j *job) run(ctx context.Context) (*Result, error) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	finish, finishing := j.follow.Finish, false
	changed := time.Now()
	for {
		before := j.position
		nodes, err := j.round(ctx)
		if err != nil {
			return nil, err
		}
		if j.position != before {
			changed = time.Now()
		}
		idle := j.follow.UntilIdle > 0 && time.Since(changed) >= j.follow.UntilIdle
		if nodes == 0 && (idle || finishing) {
			if err = j.complete(ctx); err == nil {
				return j.result(0), nil
			} else if !errors.Is(err, errMoved) {
				return nil, err
			}
			changed = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-finish:
			finish, finishing = nil, true
		case <-ticker.C:
		}
	}
}

// round applies the changes since the round before, and returns how many nodes use the source.
func (j *job) round(ctx context.Context) (nodes int64, err error) {
	var last int64
	err = read(ctx, j.from, func(src *view) (err error) {
		if last, err = src.number(ctx, selectPosition); err != nil {
			return err
		}
		nodes, err = src.nodes(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	if last != j.position {
		var reached int64
		err := j.both(ctx, func(src *view, dst *writer) (err error) {
			reached, err = j.apply(ctx, src, dst)
			return err
		})
		if err != nil {
			return 0, err
		}
		j.position = reached
	}
	if j.watch.report != nil {
		j.watch.report(Progress{Step: "follow", Done: j.position, Total: max(last, j.position), Nodes: nodes})
	}
	return nodes, nil
}

// apply applies the changes of the source that are not in the target, and returns the position of the last one.
func (j *job) apply(ctx context.Context, src *view, dst *writer) (last int64, err error) {
	var (
		feedID string
		oldest int64
	)
	err = src.one(ctx, "SELECT id, (SELECT COALESCE(MIN(seq), 0) FROM events), ("+selectPosition+") FROM feed",
		[]any{&feedID, &oldest, &last})
	if err != nil {
		return 0, err
	}
	if feedID != j.feedID || last < j.position || oldest > j.position+1 {
		return 0, j.from.Explain(core.NewError(core.FailedPrecondition,
			"the source was restored, or has removed events that were not copied yet: begin the copy anew"))
	}
	// First all keys that have changed are removed, so that what is added meets no earlier state of another one.
	for from := j.position; from < last; from += chunk {
		if err := j.applyEvents(ctx, src, dst, from, min(from+chunk, last)); err != nil {
			return 0, err
		}
	}
	for from := j.position; from < last; from += chunk {
		if err := j.applyKeys(ctx, src, dst, from, min(from+chunk, last)); err != nil {
			return 0, err
		}
	}
	if err := dst.exec(ctx, "DELETE FROM events WHERE seq < $1", oldest); err != nil {
		return 0, err
	}
	return last, j.applySmall(ctx, src, dst)
}

// applyEvents adds events after a position, up to another, and removes the keys that they name.
func (j *job) applyEvents(ctx context.Context, src *view, dst *writer, after, upTo int64) error {
	events := tableNamed("events")
	if err := dst.insert(ctx, events, src.rows(ctx, events, "seq > $1 AND seq <= $2", after, upTo)); err != nil {
		return err
	}
	changed, err := changedKeys(ctx, src, after, upTo)
	if err != nil {
		return err
	}
	return dst.deleteKeys(ctx, changed)
}

// applyKeys copies the keys that events name.
func (j *job) applyKeys(ctx context.Context, src *view, dst *writer, after, upTo int64) error {
	changed, err := changedKeys(ctx, src, after, upTo)
	if err != nil {
		return err
	}
	if err := dst.deleteKeys(ctx, changed); err != nil { // an earlier chunk may have added them
		return err
	}
	keys, sql := tableNamed("keys"), j.from.SQL()
	for network, ids := range changed {
		list, err := sql.KeyIDs(ids)
		if err != nil {
			return err
		}
		rows := src.rows(ctx, keys, "network = $1 AND "+sql.KeyIDIn, []byte(network), list)
		if err := dst.insert(ctx, keys, rows); err != nil {
			return err
		}
	}
	return nil
}

// applySmall copies the tables whose rows are few.
func (j *job) applySmall(ctx context.Context, src *view, dst *writer) error {
	for _, t := range sqlstore.Tables() {
		if t.Name == "keys" || t.Name == "events" {
			continue
		}
		if err := dst.empty(ctx, t.Name); err != nil {
			return err
		}
		if err := dst.insert(ctx, t, src.rows(ctx, t, "")); err != nil {
			return err
		}
	}
	return nil
}

// applyUses copies the keys that were used since a moment: a use is no change of the feed.
func (j *job) applyUses(ctx context.Context, src *view, dst *writer, since int64) error {
	keys := tableNamed("keys")
	var used [][]any
	flush := func() error {
		changed := map[string][]string{}
		for _, row := range used {
			if err := addChanged(changed, row[0], row[2]); err != nil {
				return err
			}
		}
		if err := dst.deleteKeys(ctx, changed); err != nil {
			return err
		}
		rows := used
		used = nil
		return dst.insert(ctx, keys, func(yield func([]any, error) bool) {
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
		})
	}
	for row, err := range src.rows(ctx, keys, "last_used_time >= $1", since) {
		if err != nil {
			return err
		}
		if used = append(used, slices.Clone(row)); len(used) == chunk {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// complete applies what is left, compares both databases and makes the target one that nodes open.
func (j *job) complete(ctx context.Context) error {
	return j.both(ctx, func(src *view, dst *writer) error {
		last, err := j.apply(ctx, src, dst)
		if err != nil {
			return err
		}
		// A process may have recorded a use late, but seldom by an hour.
		for _, since := range []int64{j.began - hour, math.MinInt64} {
			if err := j.applyUses(ctx, src, dst, since); err != nil {
				return err
			}
			here, there, digestErr := bothDigests(ctx, src, &dst.view, j.watch)
			if digestErr != nil {
				return digestErr
			}
			if err = same(here, there); err == nil {
				j.tables = here
				break
			}
		}
		if err != nil {
			return err
		}
		if err := j.checkQuiet(ctx, last); err != nil {
			return err
		}
		j.position = last
		return j.to.Explain(dst.tx.Finish(ctx))
	})
}

// checkQuiet returns errMoved if the source has changed since a position or is in use.
func (j *job) checkQuiet(ctx context.Context, last int64) error {
	return read(ctx, j.from, func(src *view) error {
		now, err := src.number(ctx, selectPosition)
		if err != nil {
			return err
		}
		nodes, err := src.nodes(ctx)
		if err == nil && (now != last || nodes > 0) {
			err = errMoved
		}
		return err
	})
}

// changedKeys are the ids of the keys that events name, by network.
func changedKeys(ctx context.Context, src *view, after, upTo int64) (map[string][]string, error) {
	changed := map[string][]string{}
	events := &sqlstore.Table{
		Name: "events", Columns: []string{"network", "key_id"}, Select: []string{"DISTINCT network", "key_id"},
		Order: "network, key_id",
	}
	for row, err := range src.rows(ctx, events, "seq > $1 AND seq <= $2", after, upTo) {
		if err == nil {
			err = addChanged(changed, row[0], row[1])
		}
		if err != nil {
			return nil, err
		}
	}
	return changed, nil
}

func addChanged(changed map[string][]string, network, id any) error {
	n, ok := network.([]byte)
	name, isText := id.(string)
	if !ok || !isText {
		return fmt.Errorf("a key is named by a %T and a %T", network, id)
	}
	changed[string(n)] = append(changed[string(n)], name)
	return nil
}

// deleteKeys removes keys.
func (w *writer) deleteKeys(ctx context.Context, named map[string][]string) error {
	sql := w.db.SQL()
	for network, ids := range named {
		list, err := sql.KeyIDs(ids)
		if err != nil {
			return err
		}
		err = w.exec(ctx, "DELETE FROM keys WHERE network = $1 AND "+sql.KeyIDIn, []byte(network), list)
		if err != nil {
			return err
		}
	}
	return nil
}

// tableNamed is one of the tables that are copied.
func tableNamed(name string) *sqlstore.Table {
	tables := sqlstore.Tables()
	return tables[slices.IndexFunc(tables, func(t *sqlstore.Table) bool { return t.Name == name })]
}
