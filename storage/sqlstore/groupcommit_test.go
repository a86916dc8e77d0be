package sqlstore

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

var errLost = errors.New("the connection is lost")

// fakeConn is a connection that fails a statement with an error, and does nothing otherwise.
type fakeConn struct{ failing map[string]error }

func (c fakeConn) Prepare(_ context.Context, query string) (Statement, error) {
	return fakeStatement{c.failing[query]}, nil
}

func (c fakeConn) Discard(...io.Closer) {}

type fakeStatement struct{ err error }

func (s fakeStatement) Query(context.Context, ...any) (Rows, error) { return nil, s.err }

func (s fakeStatement) Exec(context.Context, ...any) (int64, error) { return 0, s.err }

func (s fakeStatement) Close() error { return nil }

// commitGroup commits changes together on connections, after the last of which none can be opened, and returns their
// answers and how often a connection was opened.
func commitGroup(changes int, apply change, conns ...fakeConn) (answers []error, dials int) {
	g := NewGroupCommit(GroupCommitOptions{
		Dial: func(context.Context) (Conn, error) {
			dials++
			if dials > len(conns) {
				return nil, errLost
			}
			return conns[dials-1], nil
		},
		Dialect: &Dialect{
			Begin: "BEGIN", AppendEvents: "-",
			Translate: func(err error) error {
				if err == nil {
					return nil
				}
				return core.WrapError(core.Unavailable, "lost", err)
			},
			FailsAlone: isRefusal, Busy: func(error) bool { return false }, Unknown: func(error) bool { return true },
		},
		Positions: new(feed.Positions), Logger: zap.NewNop(), Check: func() error { return nil },
	})
	group := make([]*mutation, changes)
	for i := range group {
		group[i] = &mutation{apply: apply, done: make(chan struct{})}
	}
	g.commit(context.Background(), group)
	for _, m := range group {
		<-m.done
		answers = append(answers, m.err)
	}
	return answers, dials
}

func TestAttack22_ChangesDoNotWaitOneAfterTheOtherForAServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	fails := func(context.Context, *Writer) error { return errLost }
	answers, dials := commitGroup(100, fails, fakeConn{map[string]error{"ROLLBACK": errLost}})
	if dials != 2 {
		t.Errorf("%d connections were tried, want the first one and one more", dials)
	}
	for _, err := range answers {
		if core.ReasonOf(err) != core.Unavailable || errors.Is(err, errOutcome) {
			t.Errorf("answer is %v", err)
		}
	}
}

func TestAttack22_ACommitThatMayHaveBeenMadeIsSaidToAndNotTriedAgain(t *testing.T) {
	t.Parallel()
	applied := 0
	applies := func(context.Context, *Writer) error { applied++; return nil }
	answers, dials := commitGroup(3, applies, fakeConn{map[string]error{"COMMIT": errLost}}, fakeConn{})
	if applied != 3 || dials != 1 {
		t.Errorf("3 changes were made %d times on %d connections", applied, dials)
	}
	for _, err := range answers {
		e, ok := errors.AsType[*core.Error](err)
		if !ok || !strings.Contains(e.Message, "whether the change was made is not known") {
			t.Errorf("the caller is told %v", err)
		}
	}
}
