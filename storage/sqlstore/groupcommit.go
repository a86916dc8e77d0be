package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	// maxGroup is how many changes are committed together at most. It bounds how long one commit takes.
	maxGroup = 256
	// maxQueue is how many changes wait at most.
	maxQueue = 1024
)

// GroupCommitOptions are the settings of a [GroupCommit].
type GroupCommitOptions struct {
	// Dial opens the connection that writes.
	Dial    func(context.Context) (Conn, error)
	Dialect *Dialect
	// Positions is the table that the events of committed changes are applied to.
	Positions *feed.Positions
	Logger    *zap.Logger
	// LockWait is how long a change waits for other processes' transactions, since it was asked for.
	LockWait time.Duration
	// Timeout bounds a transaction, with the opening of its connection. 0: there is no bound.
	Timeout time.Duration
	// MaxQueue is how many changes wait at most; more callers are held back. 0: 1024.
	MaxQueue int

	// Check returns an error when a change that is committed now would be lost. It is called before each group and
	// after its commit.
	Check func() error
	// Rewound is called when the feed ends before what was read of it. It returns the error for the group's changes.
	Rewound func() error
	// Changed is called after a transaction that has changed keys. nil: nobody has to know.
	Changed func()

	Hooks Hooks
}

// Hooks let tests look and reach into a [GroupCommit]. nil: nothing is done.
type Hooks struct {
	BeforeTake   func()       // changes wait, and are about to be taken from the queue
	BeforeCommit func() error // the transaction is about to be committed; an error replaces COMMIT's
	Committed    func()       // a transaction was committed
}

func (h *Hooks) setDefaults() {
	if h.BeforeTake == nil {
		h.BeforeTake = func() {}
	}
	if h.BeforeCommit == nil {
		h.BeforeCommit = func() error { return nil }
	}
	if h.Committed == nil {
		h.Committed = func() {}
	}
}

// GroupCommit makes all changes of a node: its one goroutine commits together what waits together.
type GroupCommit struct {
	GroupCommitOptions
	queue  *queue
	health Health
	done   chan struct{} // closed when the goroutine has ended

	session *session // the connection; nil after one that failed. From Start on the goroutine's alone
}

// NewGroupCommit makes a GroupCommit, which does nothing before Start.
func NewGroupCommit(opts GroupCommitOptions) *GroupCommit {
	opts.Hooks.setDefaults()
	return &GroupCommit{
		GroupCommitOptions: opts,
		queue:              newQueue(cmp.Or(opts.MaxQueue, maxQueue)),
		health:             Health{Logger: opts.Logger, What: "writing to the database"},
		done:               make(chan struct{}),
	}
}

// Start starts the goroutine, which ends with [GroupCommit.Stop]. A ctx that can end would cost a goroutine a statement
// in some drivers, and could break off a group because of one of its members; so its end is not regarded.
func (g *GroupCommit) Start(ctx context.Context) { go g.run(context.WithoutCancel(ctx)) }

// Stop lets no more changes in, and returns when those that were let in have been answered. It is called once, after
// Start.
func (g *GroupCommit) Stop() {
	g.queue.close()
	<-g.done
}

// Waiting is how many changes wait to be committed.
func (g *GroupCommit) Waiting() int { return g.queue.size() }

// do has a change made, and returns its outcome when it is durable and its events are applied.
func (g *GroupCommit) do(ctx context.Context, apply change) error {
	m := &mutation{
		apply: apply, by: core.CallerOf(ctx), until: time.Now().Add(g.LockWait), done: make(chan struct{}),
	}
	if err := g.queue.push(ctx, m); err != nil {
		return err
	}
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
	}
	if g.queue.remove(m) {
		return errNotBegun(ctx.Err())
	}
	select {
	case <-m.done:
		return m.err
	default:
		return errUnknown(ctx.Err())
	}
}

// run commits what waits until the queue is closed and empty.
func (g *GroupCommit) run(ctx context.Context) {
	defer close(g.done)
	for g.queue.wait() {
		g.Hooks.BeforeTake()
		if group := g.queue.take(maxGroup); len(group) > 0 {
			g.commit(ctx, group)
		}
	}
}

// commit has a group committed, together or else one by one, and answers each of its members.
func (g *GroupCommit) commit(ctx context.Context, group []*mutation) {
	if err := g.Check(); err != nil {
		g.answer(group, err)
		return
	}
	group, err := g.try(ctx, group)
	switch {
	case err == nil:
		return
	case errors.Is(err, errOutcome), errors.Is(err, errNoTransaction), len(group) == 1 && !g.Dialect.Busy(err):
		g.answer(group, err)
		return
	}
	for i := range group {
		if err := g.commitOne(ctx, group[i:i+1:i+1]); errors.Is(err, errNoTransaction) {
			g.answer(group[i+1:], err) // they do not wait one after the other for a server that is not there
			return
		}
	}
}

// try has a group committed together, within one Timeout. It answers those of its members that are not among rest, and
// all when there is no error.
func (g *GroupCommit) try(ctx context.Context, group []*mutation) (rest []*mutation, err error) {
	if g.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.Timeout)
		defer cancel()
	}
	if rest, err = g.begin(ctx, group); err != nil || len(rest) == 0 {
		return rest, err
	}
	return rest, g.transact(ctx, rest)
}

// commitOne has one change committed, as often as it meets another process's transaction, until its time is over, and
// returns the error that ended that.
func (g *GroupCommit) commitOne(ctx context.Context, one []*mutation) error {
	for delay := NextLockDelay(0); ; delay = NextLockDelay(delay) {
		var err error
		if one, err = g.try(ctx, one); err == nil {
			return nil
		}
		if !g.Dialect.Busy(err) || !time.Now().Before(one[0].until) {
			g.answer(one, err)
			return err
		}
		<-time.After(delay)
	}
}

// begin begins a transaction for a group and returns those of its members that are in it. While another process has the
// lock, it answers each member whose time is over. Without a transaction none of them is the cause of an error: any
// other one is an errNoTransaction.
func (g *GroupCommit) begin(ctx context.Context, group []*mutation) ([]*mutation, error) {
	for delay := NextLockDelay(0); ; delay = NextLockDelay(delay) {
		err := g.tryBegin(ctx)
		switch {
		case err == nil:
			return group, nil
		case !g.Dialect.Busy(err):
			g.health.Failed(err)
			g.Disconnect()
			return group, fmt.Errorf("%w: %w", errNoTransaction, err)
		}
		now, waited := time.Now(), len(group)
		group = slices.DeleteFunc(group, func(m *mutation) bool {
			if m.until.After(now) {
				delay = min(delay, m.until.Sub(now))
				return false
			}
			g.answer([]*mutation{m}, err)
			return true
		})
		if len(group) < waited {
			g.health.Failed(err)
		}
		if len(group) == 0 {
			return nil, nil
		}
		<-time.After(delay)
	}
}

func (g *GroupCommit) tryBegin(ctx context.Context) error {
	idle := g.session != nil
	for {
		if _, err := g.Connect(ctx); err != nil {
			return err
		}
		err := g.session.exec(ctx, g.session.begin)
		if err == nil || !idle || !g.Dialect.Unknown(err) {
			return err
		}
		// The connection may have broken since the last change. Nothing was begun on it.
		g.Disconnect()
		idle = false
	}
}

// answer gives all members of a group the same answer.
func (g *GroupCommit) answer(group []*mutation, err error) {
	err = g.Dialect.Translate(err)
	if e, ok := errors.AsType[*core.Error](err); ok && errors.Is(err, errOutcome) {
		err = core.WrapError(e.Reason, e.Message+"; "+errOutcome.Error(), err)
	}
	for _, m := range group {
		m.finish(err)
	}
}

// transact makes the changes of a group in the transaction that begin has begun, and answers its members. When it
// returns an error, nobody was answered, and nothing was changed, unless the error is errOutcome. A change that went
// into a database which was taken away meanwhile is made as far as this process can tell, and is not acknowledged.
func (g *GroupCommit) transact(ctx context.Context, group []*mutation) error {
	s := g.session
	outcomes := make([]error, len(group))
	events, err := g.apply(ctx, s, group, outcomes)
	if err == nil {
		err = g.Hooks.BeforeCommit()
	}
	if err == nil {
		if err = s.exec(ctx, s.commit); err != nil && g.Dialect.Unknown(err) {
			err = fmt.Errorf("%w: %w", errOutcome, err)
		}
	}
	if err != nil {
		g.health.Failed(err)
		// Some errors end a transaction by themselves. A connection whose state is not certain is given up, which also
		// rolls back.
		if s.exec(ctx, s.rollback) != nil {
			g.Disconnect()
		}
		return err
	}
	g.health.OK()
	g.Hooks.Committed()
	g.Positions.Apply(events...)
	if g.Changed != nil && len(events) > 0 {
		g.Changed()
	}
	lost := g.Check()
	for i, m := range group {
		m.finish(g.Dialect.Translate(cmp.Or(outcomes[i], lost)))
	}
	return nil
}

// apply makes the changes and returns their events. A change that fails alone has its error in outcomes.
func (g *GroupCommit) apply(
	ctx context.Context, s *session, group []*mutation, outcomes []error,
) (events []feed.Event, err error) {
	s.writer.begin()
	for i, m := range group {
		if err := g.applyOne(ctx, s, m); err != nil {
			if !g.Dialect.FailsAlone(err) {
				return nil, err
			}
			outcomes[i] = err
		}
	}
	events, err = s.writer.Finish(ctx)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	first := events[0].Position
	if g.Positions.Applied() >= first {
		return nil, g.Rewound()
	}
	// Without this, a process would pass over what another one committed before its own change. Nothing can come in
	// between any more.
	_, err = s.feed.CatchUp(ctx, g.Positions, first)
	return events, err
}

// applyOne makes one change, in a savepoint where one is of use. After an error nothing of it is left.
func (g *GroupCommit) applyOne(ctx context.Context, s *session, m *mutation) error {
	ctx = core.WithCaller(ctx, m.by)
	before := s.writer.mark()
	if !g.Dialect.Savepoints {
		err := m.apply(ctx, s.writer)
		if err != nil {
			s.writer.undo(before)
		}
		return err
	}
	if err := s.exec(ctx, s.savepoint); err != nil {
		return err
	}
	err := m.apply(ctx, s.writer)
	if err != nil {
		s.writer.undo(before)
		if !g.Dialect.FailsAlone(err) {
			return err
		}
		if err := s.exec(ctx, s.rollbackTo); err != nil {
			return err
		}
	}
	if err := s.exec(ctx, s.release); err != nil {
		return err
	}
	return err
}
