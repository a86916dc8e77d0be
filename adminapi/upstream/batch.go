package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core/verify"
)

// errDivide in a call's error says that one item may have spoilt the call for the others: they are asked about again in
// two halves.
var errDivide = errors.New("the batch was refused as a whole")

// outcome is the answer to a question, or why there is none.
type outcome struct {
	answer answer
	err    error
}

// ask has questions answered: with one call, or with one after the other when one cannot hold them or must not, see
// [verify.Apart]. The outcomes are in their order.
func (u *Upstream) ask(ctx context.Context, n *network, questions []*question) []outcome {
	outcomes := make([]outcome, len(questions))
	rest := make([]int, len(questions))
	for i := range rest {
		rest[i] = i
	}
	for len(rest) > 0 {
		var batch []int
		batch, rest = together(questions, rest)
		part, answered := make([]*question, len(batch)), make([]outcome, len(batch))
		for i, at := range batch {
			part[i] = questions[at]
		}
		u.askBatch(ctx, n, part, answered)
		for i, at := range batch {
			outcomes[at] = answered[i]
		}
	}
	return outcomes
}

// together divides questions, by their places, into those that one call holds, at least one, and the rest.
func together(questions []*question, places []int) (batch, rest []int) {
	bytes := client.BatchFrame
	var apart verify.Apart
	for _, at := range places {
		q := questions[at]
		full := len(batch) > 0 && (len(batch) == client.MaxBatch || bytes+q.size() > client.MaxBatchBytes)
		if full || !apart.Add(q.claim) {
			rest = append(rest, at)
			continue
		}
		bytes += q.size()
		batch = append(batch, at)
	}
	return batch, rest
}

// askBatch fills in outcomes by a call, or by calls for parts of it when one item spoils it for the others. A part that
// would have less than a quarter of the timeout is not asked about: the answers to the others would come too late.
func (u *Upstream) askBatch(ctx context.Context, n *network, questions []*question, outcomes []outcome) {
	answers, err := u.batch(ctx, n, questions)
	if half := len(questions) / 2; half > 0 && errors.Is(err, errDivide) && u.timeForMore(ctx) {
		u.askBatch(ctx, n, questions[:half], outcomes[:half])
		u.askBatch(ctx, n, questions[half:], outcomes[half:])
		return
	}
	for i := range outcomes {
		if outcomes[i].err = err; err == nil {
			outcomes[i].answer = answers[i]
		}
	}
}

// timeForMore tells whether a further call within a look-up would have a quarter of the timeout or more.
func (u *Upstream) timeForMore(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) >= u.config.Timeout/4
}
