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
	h.Set("RateLimit-Policy", limitName+";q="+integer(p.Quota)+";w="+integer(int64(p.Window/time.Second)))
	if limit == nil {
		return
	}
	h.Set("RateLimit", limitName+";r="+integer(limit.Remaining))
	if !limit.Allowed {
		h.Set("Retry-After", retryAfter(limit.RetryAfter))
	}
}

// integer writes a number as a structured field, where it has at most 15 digits (RFC 9651, section 3.3.1).
func integer(n int64) string { return strconv.FormatInt(min(n, 999_999_999_999_999), 10) }
