package upstream

import (
	"context"
	"errors"
	"time"
)

// errDivide in a call's error says that one item may have spoilt the call for the others: they are asked about again in
// two halves.
var errDivide = errors.New("the batch was refused as a whole")

// outcome is the answer to a query, or why there is none.
type outcome struct {
	answer answer
	err    error
}

// askBatch fills in outcomes by a call, or by calls for parts of it when one item spoils it for the others. A part that
// would have less than a quarter of the timeout is not asked about: the answers to the others would come too late.
func (u *Remote) askBatch(ctx context.Context, n *network, queries []*query, outcomes []outcome) {
	answers, err := u.batch(ctx, n, queries)
	if half := len(queries) / 2; half > 0 && errors.Is(err, errDivide) && u.timeForMore(ctx) {
		u.askBatch(ctx, n, queries[:half], outcomes[:half])
		u.askBatch(ctx, n, queries[half:], outcomes[half:])
		return
	}
	for i := range outcomes {
		if outcomes[i].err = err; err == nil {
			outcomes[i].answer = answers[i]
		}
	}
}

// timeForMore reports whether a further call within a look-up would have a quarter of the timeout or more.
func (u *Remote) timeForMore(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) >= u.config.Timeout/4
}
