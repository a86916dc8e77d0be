package transfer

import "iter"

// watchRows is how many rows pass between two reports.
const watchRows = 10_000

// watch reports how far a copy has come. nil reports nothing.
type watch struct {
	report func(Progress) // or nil
	total  int64          // rows of the step, or 0
}

// of passes rows on and reports them as those of a step.
func (w *watch) of(step string, rows iter.Seq2[[]any, error]) iter.Seq2[[]any, error] {
	if w == nil || w.report == nil {
		return rows
	}
	return func(yield func([]any, error) bool) {
		var done int64
		for row, err := range rows {
			if err == nil {
				done++
				if done%watchRows == 0 {
					w.report(Progress{Step: step, Done: done, Total: w.total})
				}
			}
			if !yield(row, err) {
				return
			}
		}
		w.report(Progress{Step: step, Done: done, Total: w.total})
	}
}
