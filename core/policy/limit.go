package policy

import (
	"context"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

// Decision is what becomes of one request, its key's rate limit included.
type Decision struct {
	Code core.Code

	// Counted says that the request was counted against the key's limit; Limit then says what is left of that.
	Counted bool
	Limit   ratelimit.Result

	// LimitErr is why the request could not be counted, for the log and for metrics. It was let through.
	LimitErr error
}

// Decide is [Judge] and then, for a request that may pass, the key's rate limit: only requests that would be served
// count, cached verdict or not. Without a limiter (nil) no limit is enforced. A limiter that cannot say lets the
// request through: a store of counters that is away must not take the service down with it.
func Decide(
	ctx context.Context, v *core.Verdict, r Request, rules *Rules, limiter ratelimit.Limiter,
) (d Decision) {
	d.Code = Judge(v, r, rules)
	if d.Code != core.CodeValid || limiter == nil || v.RateLimit.IsZero() {
		return d
	}
	d.Limit, d.LimitErr = limiter.Take(ctx, v.Network, v.CountedAs(), v.RateLimit)
	if d.LimitErr != nil {
		d.Limit = ratelimit.Result{}
		return d
	}
	d.Counted = true
	if !d.Limit.Allowed {
		d.Code = core.CodeRateLimited
	}
	return d
}
