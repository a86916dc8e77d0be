package upstream

import (
	"context"
	"errors"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// errDivide in a call's error says that one item may have spoilt the call for the others: they are asked about again in
// two halves.
var errDivide = errors.New("the batch was refused as a whole")

// outcome is the answer to a question, or why there is none.
type outcome struct {
	answer answer
	err    error
}

// ask has questions answered, with one call after the other if one cannot hold them. The outcomes are in their order.
func (u *Upstream) ask(ctx context.Context, n *network, questions []question) []outcome {
	outcomes := make([]outcome, len(questions))
	for from := 0; from < len(questions); {
		to := from + fits(questions[from:])
		u.askBatch(ctx, n, questions[from:to], outcomes[from:to])
		from = to
	}
	return outcomes
}

// fits is how many of some questions one call holds, at least one.
func fits(questions []question) int {
	bytes := client.BatchFrame
	for i, q := range questions {
		if bytes += q.size(); i == client.MaxBatch || bytes > client.MaxBatchBytes && i > 0 {
			return i
		}
	}
	return len(questions)
}

// askBatch fills in outcomes by a call, or by calls for parts of it when one item spoils it for the others.
func (u *Upstream) askBatch(ctx context.Context, n *network, questions []question, outcomes []outcome) {
	answers, err := u.batch(ctx, n, questions)
	if half := len(questions) / 2; half > 0 && errors.Is(err, errDivide) {
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
