package transfer

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// Options say how a database is copied. The zero value copies it as of one moment.
type Options struct {
	// Progress is called now and then, by the goroutine that copies. nil: it is not.
	Progress func(Progress)
	// Follow keeps the target up to date after the copy, until no node uses the source any more. nil: it does not.
	Follow *Follow
}

// Progress is how far a copy has come.
type Progress struct {
	Step  string // "copy keys", "check keys", …, "follow"
	Done  int64  // rows; of follow the position that the target has reached
	Total int64  // rows, or 0: not known; of follow the source's position
	Nodes int64  // follow: that use the source
}

// Result is what was copied.
type Result struct {
	Tables   []Table
	Position uint64 // of the last change that was copied
	Missed   uint64 // changes that the source's nodes have made since; after Follow there are none
}

const (
	selectPosition = `SELECT COALESCE(MAX(seq), 0) FROM events`
	// selectNodes counts the processes that use a database.
	selectNodes = `SELECT COUNT(*) FROM nodes WHERE seen > %s - %d`
	// nodeTimeout is how long after its last sign a process is still taken for one that runs, in microseconds. Three
	// times the interval of these signs.
	nodeTimeout = 60_000_000
)

// job is one copy.
type job struct {
	from, to Database
	follow   *Follow
	watch    *watch
	mark     int64 // of the target

	feedID   string // the source's
	position int64  // up to which changes are in the target
	began    int64  // by the source's clock, in microseconds
	tables   []Table
}

// Copy copies one database into another. The target must hold no keys and no events, or be what a copy has left that
// was cut short; anything else, a process that uses the target, and a source that is itself the target of a copy, are
// [core.FailedPrecondition]. After an error, no node opens the target before another copy has been completed.
func Copy(ctx context.Context, from, to Database, o Options) (*Result, error) {
	j := &job{
		from: from, to: to, follow: o.Follow, watch: &watch{report: o.Progress},
		mark: -1 - rand.Int64N(math.MaxInt32), //nolint:gosec // it is no secret
	}
	err := j.begin(ctx)
	if err == nil {
		err = j.copyAll(ctx)
	}
	if err != nil && ctx.Err() != nil && core.ReasonOf(err) != core.DeadlineExceeded {
		err = core.WrapError(core.DeadlineExceeded, "the copy was broken off", err) // which closes connections
	}
	if err != nil {
		return nil, err
	}
	if j.follow != nil {
		return j.run(ctx)
	}
	var last int64
	err = read(ctx, j.from, func(src *view) (err error) {
		last, err = src.number(ctx, selectPosition)
		return err
	})
	return j.result(last - j.position), err
}

func (j *job) result(missed int64) *Result {
	return &Result{
		Tables: j.tables, Position: uint64(j.position), Missed: uint64(max(missed, 0)), //nolint:gosec // not negative
	}
}

// begin marks the target as this copy's, and removes what an earlier copy has left there.
func (j *job) begin(ctx context.Context) error {
	err := read(ctx, j.from, func(src *view) error {
		mark, err := src.number(ctx, j.from.SQL().Mark)
		if err == nil && mark != 0 {
			err = j.from.Explain(sqlstore.CopyingError())
		}
		return err
	})
	if err != nil {
		return err
	}
	return write(ctx, j.to, func(dst *writer) error {
		mark, err := dst.number(ctx, j.to.SQL().Mark)
		if err != nil {
			return err
		}
		if mark == 0 {
			if err := j.checkEmpty(ctx, dst); err != nil {
				return err
			}
		}
		for _, t := range append(sqlstore.Tables(), &sqlstore.Table{Name: "nodes"}) {
			if err := dst.empty(ctx, t.Name); err != nil {
				return err
			}
		}
		return dst.exec(ctx, fmt.Sprintf(j.to.SQL().SetMark, j.mark))
	})
}

// checkEmpty refuses a target that somebody uses.
func (j *job) checkEmpty(ctx context.Context, dst *writer) error {
	refuse := func(what string) error {
		return j.to.Explain(core.NewError(core.FailedPrecondition, what))
	}
	for _, table := range []string{"keys", "events"} {
		n, err := dst.number(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM "+table+" LIMIT 1) AS first")
		if err != nil {
			return err
		}
		if n > 0 {
			return refuse("the target is not empty, its table " + table + " has rows: name a new database")
		}
	}
	n, err := dst.nodes(ctx)
	if err == nil && n > 0 {
		return refuse("a node uses the target: stop it, and try again after a minute if it was killed")
	}
	return err
}

// nodes is how many processes use a database.
func (v *view) nodes(ctx context.Context) (int64, error) {
	return v.number(ctx, fmt.Sprintf(selectNodes, v.db.SQL().Now, nodeTimeout))
}

// own refuses to write where another copy has begun.
func (j *job) own(ctx context.Context, dst *writer) error {
	mark, err := dst.number(ctx, j.to.SQL().Mark)
	if err == nil && mark != j.mark {
		err = j.to.Explain(core.NewError(core.FailedPrecondition, "another copy into the target has begun"))
	}
	return err
}

// both calls f with a transaction on each database.
func (j *job) both(ctx context.Context, f func(src *view, dst *writer) error) error {
	return read(ctx, j.from, func(src *view) error {
		return write(ctx, j.to, func(dst *writer) error {
			if err := j.own(ctx, dst); err != nil {
				return err
			}
			return f(src, dst)
		})
	})
}

// copyAll copies all tables and compares them.
func (j *job) copyAll(ctx context.Context) error {
	return j.both(ctx, func(src *view, dst *writer) (err error) {
		if err := src.one(ctx, "SELECT id FROM feed", []any{&j.feedID}); err != nil {
			return err
		}
		if j.position, err = src.number(ctx, selectPosition); err != nil {
			return err
		}
		if j.began, err = src.number(ctx, "SELECT "+j.from.SQL().Now); err != nil {
			return err
		}
		for _, t := range sqlstore.Tables() {
			d := newDigest()
			if j.watch.total, err = src.number(ctx, "SELECT COUNT(*) FROM "+t.Name); err != nil {
				return err
			}
			rows := j.watch.of("copy "+t.Name, d.of(src.rows(ctx, t, "")))
			if err := dst.insert(ctx, t, rows); err != nil {
				return fmt.Errorf("copy %s: %w", t.Name, err)
			}
			j.tables = append(j.tables, d.table(t.Name))
		}
		j.watch.total = 0
		written, err := dst.digests(ctx, j.watch)
		if err != nil {
			return err
		}
		if err := same(j.tables, written); err != nil || j.follow != nil {
			return err
		}
		return j.to.Explain(dst.tx.Finish(ctx))
	})
}

// hour in microseconds, as times are in the tables.
const hour = int64(time.Hour / time.Microsecond)
