package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Result is how a call of the upstream ended, as metrics name it.
type Result string

// The results.
const (
	ResultOK            Result = "ok"
	ResultRejected      Result = "rejected"      // the upstream refuses what was asked: 400, 413, 422
	ResultThrottled     Result = "throttled"     // 429
	ResultMisconfigured Result = "misconfigured" // the upstream refuses this node: 401, 403, 404, a redirect, other 4xx
	ResultFailed        Result = "failed"        // 5xx
	ResultGarbage       Result = "garbage"       // an answer that is not the API's
	ResultTimeout       Result = "timeout"
	ResultUnreachable   Result = "unreachable" // no connection, or one that ended
	ResultCanceled      Result = "canceled"    // cut short by the end of this node, or begun too late: nobody's failure
	ResultRefused       Result = "refused"     // not sent: the breaker is open, or the address is not to be asked yet
)

// Results are all results, for whoever counts them.
var Results = [...]Result{
	ResultOK, ResultRejected, ResultThrottled, ResultMisconfigured, ResultFailed, ResultGarbage, ResultTimeout,
	ResultUnreachable, ResultCanceled, ResultRefused,
}

// maxRetry bounds the time that an upstream's Retry-After may ask for.
const maxRetry = 30 * time.Second

// failure is a call that did not succeed at one address.
type failure struct {
	result  Result
	address string
	cause   error         // holds nothing that the upstream wrote but a reason's name
	retry   time.Duration // when to try again; 0: not known
	unknown bool          // it says that there is no such key
}

func (f *failure) Error() string { return f.address + ": " + f.cause.Error() }

func (f *failure) Unwrap() error { return f.cause }

// elsewhere reports whether another address may do better. A timeout has used up the time of the call.
func (f *failure) elsewhere() bool {
	switch f.result {
	case ResultThrottled, ResultMisconfigured, ResultFailed, ResultGarbage, ResultUnreachable, ResultRefused:
		return true
	default:
		return false
	}
}

// healthy reports whether an address that answers so is in good health.
func (f *failure) healthy() bool {
	switch f.result {
	case ResultOK, ResultRejected, ResultThrottled, ResultMisconfigured:
		return true
	default:
		return false
	}
}

// worse reports whether f says more than other about a call that no address answered. That this node is refused counts
// most: it does not end without an operator, and nothing stale may be served. Least counts an address that was not
// asked.
func (f *failure) worse(other *failure) bool {
	rank := func(f *failure) int {
		switch {
		case f == nil:
			return 0
		case f.result == ResultRefused:
			return 1
		case f.result == ResultMisconfigured:
			return 3
		default:
			return 2
		}
	}
	return rank(f) > rank(other)
}

// asError is what a look-up returns for the failure.
func (f *failure) asError() error {
	switch f.result {
	case ResultMisconfigured:
		return unavailable("the upstream refuses this node", fmt.Errorf("%w: %w", verify.ErrMisconfigured, f), 0)
	case ResultTimeout:
		return unavailable("the upstream did not answer in time", f, f.retry)
	case ResultThrottled:
		return unavailable("the upstream is asked too often", fmt.Errorf("%w: %w", verify.ErrThrottled, f), f.retry)
	case ResultRefused:
		return unavailable("the upstream is not to be asked at the moment", f, f.retry)
	case ResultRejected:
		if f.unknown {
			return unavailable("the upstream cannot say", fmt.Errorf("%w: %w", verify.ErrRefused, f), 0)
		}
		fallthrough
	default:
		return unavailable("the upstream cannot say", f, f.retry)
	}
}

// judge makes a failure of a call's error, nil for none. short says that the call had too little time for its timeout
// to mean anything.
func judge(ctx context.Context, address string, err error, short bool) *failure {
	f := &failure{address: address, cause: err}
	e, answered := errors.AsType[*client.Error](err)
	switch {
	case err == nil:
		return nil
	case answered:
		f.result, f.retry = resultOf(e), min(e.RetryAfter, maxRetry)
		f.unknown = f.result == ResultRejected && e.HTTP == http.StatusNotFound
		f.cause = describe(e)
	case errors.Is(err, client.ErrAnswer):
		f.result = ResultGarbage
	case errors.Is(ctx.Err(), context.Canceled), ctx.Err() != nil && short:
		f.result = ResultCanceled
	case ctx.Err() != nil:
		f.result = ResultTimeout
	default:
		f.result = ResultUnreachable
	}
	return f
}

func resultOf(e *client.Error) Result {
	switch e.HTTP {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return ResultRejected
	case http.StatusTooManyRequests:
		return ResultThrottled
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return ResultFailed
	case http.StatusNotFound:
		if e.Reason == string(core.KeyNotFound) {
			return ResultRejected
		}
	}
	switch {
	case e.HTTP >= 500:
		return ResultFailed
	case e.HTTP >= 300:
		return ResultMisconfigured
	default:
		return ResultGarbage
	}
}

// describe is a refusal without the upstream's words: they may repeat what was sent.
func describe(e *client.Error) error {
	if e.Reason == "" {
		return fmt.Errorf("it answered HTTP %d", e.HTTP)
	}
	return fmt.Errorf("it answered HTTP %d, %s", e.HTTP, quoted(e.Reason))
}

// quoted is a name that the upstream wrote, if it is one: anything else may be what was sent.
func quoted(name string) string {
	const longest = 64
	if len(name) > longest || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		return "not a name"
	}
	return strconv.Quote(name)
}
