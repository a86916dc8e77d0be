package verify

import (
	"context"
	"errors"

	"github.com/talos-edge/talos-edge/core"
)

// catchUp waits until the table of positions can be relied on for a request that began at c, and reads the clock again:
// only then may the request share what others have looked up. It waits for LookupTimeout at most.
func (v *Verifier) catchUp(ctx context.Context, c *clock) error {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, v.config.LookupTimeout)
	defer cancel()
	stop := context.AfterFunc(v.background, cancel) //nolint:contextcheck // Close ends the wait, too
	defer stop()
	err := v.positions.Await(ctx, c.steady, c.wall)
	*c = v.clock()
	if err != nil && v.config.Observer != nil && caller.Err() == nil && v.background.Err() == nil {
		v.config.Observer.ChangesUnknown(err)
	}
	switch {
	case err == nil:
		return nil
	case v.background.Err() != nil:
		return ErrClosed
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return core.WrapError(core.Unavailable, "whether keys have changed is not known at the moment", err)
	default:
		return unavailable(err)
	}
}

// failed is the answer to a request that could not be judged.
func (v *Verifier) failed(err error) (Result, error) {
	r := Result{Err: err}
	v.count(&r)
	return r, err
}
