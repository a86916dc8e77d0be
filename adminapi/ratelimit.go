package adminapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

// limitName is the name of the one limit that a key may have.
const limitName = `"default"`

// SetRateLimit tells of a key's limit in headers (draft-ietf-httpapi-ratelimit-headers): the policy, how many uses are
// left and, when there is none, how long to wait. A nil limit is one that nobody counts.
func SetRateLimit(h http.Header, p core.RateLimitPolicy, limit *ratelimit.Result) {
	h.Set("RateLimit-Policy", limitName+";q="+strconv.FormatInt(p.Quota, 10)+
		";w="+strconv.FormatInt(int64(p.Window/time.Second), 10))
	if limit == nil {
		return
	}
	h.Set("RateLimit", limitName+";r="+strconv.FormatInt(limit.Remaining, 10))
	if !limit.Allowed {
		h.Set("Retry-After", retryAfter(limit.RetryAfter))
	}
}
