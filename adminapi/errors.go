package adminapi

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
)

// MethodNotAllowed is a reason that only HTTP gives.
const MethodNotAllowed core.Reason = "METHOD_NOT_ALLOWED"

// kind is what a reason means to HTTP.
type kind struct {
	http int
	grpc string // the name of the canonical code (google.rpc.Code)
}

// table is the one place that turns reasons into status codes.
var table = map[core.Reason]kind{
	core.BadRequest:               {http.StatusBadRequest, "INVALID_ARGUMENT"},
	core.CredentialRequired:       {http.StatusBadRequest, "INVALID_ARGUMENT"},
	core.InvalidKeyFormat:         {http.StatusBadRequest, "INVALID_ARGUMENT"},
	core.UnknownCredential:        {http.StatusBadRequest, "INVALID_ARGUMENT"},
	core.InvalidTokenType:         {http.StatusBadRequest, "INVALID_ARGUMENT"},
	core.DerivedTokenNotRevocable: {http.StatusBadRequest, "INVALID_ARGUMENT"},
	core.KeyExpired:               {http.StatusUnauthorized, "UNAUTHENTICATED"},
	core.KeyRevoked:               {http.StatusUnauthorized, "UNAUTHENTICATED"},
	core.ParentKeyInvalid:         {http.StatusUnauthorized, "UNAUTHENTICATED"},
	core.KeyQuotaExceeded:         {http.StatusPaymentRequired, "PERMISSION_DENIED"},
	core.Forbidden:                {http.StatusForbidden, "PERMISSION_DENIED"},
	core.IPNotAllowed:             {http.StatusForbidden, "PERMISSION_DENIED"},
	core.KeyNotFound:              {http.StatusNotFound, "NOT_FOUND"},
	core.NotFound:                 {http.StatusNotFound, "NOT_FOUND"},
	MethodNotAllowed:              {http.StatusMethodNotAllowed, "UNIMPLEMENTED"},
	core.KeyExists:                {http.StatusConflict, "ALREADY_EXISTS"},
	core.Conflict:                 {http.StatusConflict, "ALREADY_EXISTS"},
	core.FailedPrecondition:       {http.StatusConflict, "FAILED_PRECONDITION"},
	core.TooManyRequests:          {http.StatusTooManyRequests, "RESOURCE_EXHAUSTED"},
	core.Unavailable:              {http.StatusServiceUnavailable, "UNAVAILABLE"},
	core.DeadlineExceeded:         {http.StatusGatewayTimeout, "DEADLINE_EXCEEDED"},
	core.Internal:                 {http.StatusInternalServerError, "INTERNAL"},
}

// internalMessage is a caller's message for an error that only the server's operator can correct.
const internalMessage = "the server failed to answer this request; its log says why"

// hidden are the messages that replace the server's own errors, whose details no caller sees.
var hidden = map[int]string{
	http.StatusInternalServerError: internalMessage,
	http.StatusServiceUnavailable:  "the service cannot answer at the moment; try again after the time in Retry-After",
	http.StatusGatewayTimeout:      "the service did not answer in time; before a change is repeated, read the key",
}

// unavailableRetry is what Retry-After says where nothing better is known.
const unavailableRetry = time.Second

// httpError is an error whose answer differs from what the table says of its reason.
type httpError struct {
	cause      *core.Error
	status     int           // 0: the table's
	retryAfter time.Duration // 0: none
	shown      bool          // the message is for the caller although the trouble is the server's
}

// Error returns the cause's text.
func (e *httpError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *httpError) Unwrap() error { return e.cause }

// StatusOf returns the HTTP status that a reason is answered with. An unknown reason is 500.
func StatusOf(reason core.Reason) int { return kindOf(reason).http }

func kindOf(reason core.Reason) kind {
	if k, ok := table[reason]; ok {
		return k
	}
	return table[core.Internal]
}

// WriteError answers a request with an error: the status of its reason, the envelope, and Retry-After where the caller
// may try again. The message is that of the [core.Error] in err's tree. An error without one, and the server's own
// trouble (500, 503, 504), get a fixed message: no detail of them leaves the server. Headers that w has already, such
// as WWW-Authenticate, stay.
func WriteError(w http.ResponseWriter, err error) {
	e := asError(err)
	k := kindOf(e.Reason)
	special := httpError{}
	if he, ok := errors.AsType[*httpError](err); ok {
		special = *he
	}
	status, retry := cmp.Or(special.status, k.http), special.retryAfter
	if errors.Is(err, body.ErrTooLong) {
		status = http.StatusRequestEntityTooLarge
	}
	if retry == 0 {
		retry = e.RetryAfter
	}
	if retry == 0 && status == http.StatusServiceUnavailable {
		retry = unavailableRetry
	}
	if retry > 0 && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", retryAfter(retry))
	}
	message := e.Message
	if m, ok := hidden[status]; ok && !special.shown {
		message = m
	}
	writeEnvelope(w, status, k.grpc, e.Reason, message)
}

// retryAfter is a wait as Retry-After has it: in whole seconds, rounded up.
func retryAfter(wait time.Duration) string {
	return strconv.FormatInt(int64(math.Ceil(wait.Seconds())), 10)
}

// WriteStatus answers a request with an error whose status is not that of its reason's row in the table, such as a
// gate's 401. It differs from [WriteError] in nothing else.
func WriteStatus(w http.ResponseWriter, status int, reason core.Reason, message string) {
	WriteError(w, &httpError{cause: core.NewError(reason, message), status: status})
}

// asError finds the error to answer with.
func asError(err error) *core.Error {
	if e, ok := errors.AsType[*core.Error](err); ok {
		if _, known := table[e.Reason]; !known {
			return core.WrapError(core.Internal, hidden[http.StatusInternalServerError], err)
		}
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return core.WrapError(core.DeadlineExceeded, hidden[http.StatusGatewayTimeout], err)
	}
	return core.WrapError(core.Internal, hidden[http.StatusInternalServerError], err)
}

// grpcNames are the names of the statuses that [WriteStatus] may be asked for.
var grpcNames = map[int]string{
	http.StatusBadRequest:         "INVALID_ARGUMENT",
	http.StatusUnauthorized:       "UNAUTHENTICATED",
	http.StatusForbidden:          "PERMISSION_DENIED",
	http.StatusNotFound:           "NOT_FOUND",
	http.StatusTooManyRequests:    "RESOURCE_EXHAUSTED",
	http.StatusServiceUnavailable: "UNAVAILABLE",
}

func writeEnvelope(w http.ResponseWriter, status int, grpc string, reason core.Reason, message string) {
	if status != kindOf(reason).http {
		if name, ok := grpcNames[status]; ok {
			grpc = name
		}
	}
	e := envelope(status, grpc, reason, message)
	writeJSON(w, status, &e)
}

func envelope(status int, grpc string, reason core.Reason, message string) client.ErrorResponse {
	return client.ErrorResponse{Error: client.ErrorBody{
		Code:    status,
		Message: message,
		Status:  grpc,
		Details: []client.ErrorDetail{{
			Type:   client.ErrorInfoType,
			Reason: string(reason),
			Domain: client.ErrorDomain,
		}},
	}}
}
