package verify

import (
	"context"
	"errors"

	"github.com/talos-edge/talos-edge/core"
)

// current returns nil when the table of positions can be relied on for a request that began at c: only then may it
// share what others have looked up. If it must wait for that, it reads the clock again into c. It waits for LookupTimeout
// at most.
func (v *Verifier) current(ctx context.Context, c *clock) error {
	if v.positions.Current(c.now) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, v.config.LookupTimeout)
	defer cancel()
	stop := context.AfterFunc(v.background, cancel)
	defer stop()
	err := v.positions.Await(ctx, c.now)
	*c = v.clock()
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
