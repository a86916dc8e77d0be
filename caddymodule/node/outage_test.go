package node

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/outage"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestADatabaseThatDoesNotAnswerIsAnOutageAndOneKeyThatCannotBeReadIsNone(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{core.NewError(core.Unavailable, "the disk is full"), true},
		{core.NewError(core.DeadlineExceeded, "the database did not answer in time"), true},
		{fmt.Errorf("look-up: %w", context.DeadlineExceeded), true},
		{core.NewError(core.Internal, "a row cannot be read"), false},
		{errors.New("the look-up panicked"), false},
	} {
		logs, seen := observer.New(zap.DebugLevel)
		w := newDatabaseWatch(zap.New(logs), &verify.Config{}, func() outage.Counts { return outage.Counts{} })
		for range 3 {
			w.SourceFailed(tc.err)
		}
		if w.active() != tc.want || (seen.Len() == 1) != tc.want {
			t.Errorf("%v: an outage %v, and the log has %v", tc.err, w.active(), seen.All())
		}
		if tc.want && seen.All()[0].ContextMap()["stale_if_error"] != defaultStaleWindow {
			t.Errorf("the log has %v", seen.All())
		}
		w.close()
	}
}

func TestAnErrorOfAnOutageIsMarkedAndKeepsItsReason(t *testing.T) {
	t.Parallel()
	cause := core.NewError(core.Unavailable, "the database does not answer")
	if err := marked(cause, true); !errors.Is(err, ErrOutage) || core.ReasonOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
	if err := marked(cause, false); errors.Is(err, ErrOutage) {
		t.Errorf("without an outage: %v", err)
	}
	if err := marked(nil, true); err != nil {
		t.Errorf("without an error: %v", err)
	}
}
