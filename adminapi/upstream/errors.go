package upstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Errors that no call has for a cause.
var (
	errClosed  error = core.NewError(core.Unavailable, "the connection to the upstream is closed")
	errTimeout       = unavailable("the upstream did not answer in time", nil, time.Second)
	errBehind        = unavailable("the upstream's answer is from before the key's last change", nil, time.Second)
)

// unavailable is an error that leaves open whether the credential is valid. retry is when to try again; 0: not known.
func unavailable(message string, err error, retry time.Duration) error {
	return &core.Error{Reason: core.Unavailable, Message: message, Err: err, RetryAfter: retry}
}

// refuses is an error for a credential that the upstream does not accept, in words from which no verdict can be made.
// Nothing that was known of it before may serve in place of an answer.
func refuses(message string) error {
	return fmt.Errorf("%w: %s", verify.ErrRefused, message)
}

// errLate is why a caller waits no longer.
func errLate(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return core.WrapError(core.DeadlineExceeded, "the caller did not wait", ctx.Err())
	}
	return errTimeout
}
