package core

import (
	"errors"
	"time"
)

// Reason tells programs what went wrong. The values are part of the API's contract; which HTTP status each has is the
// concern of package adminapi alone.
type Reason string

// The reasons that the domain gives.
const (
	BadRequest               Reason = "BAD_REQUEST"
	CredentialRequired       Reason = "CREDENTIAL_REQUIRED"
	InvalidKeyFormat         Reason = "INVALID_API_KEY_FORMAT"
	UnknownCredential        Reason = "UNKNOWN_CREDENTIAL"
	InvalidTokenType         Reason = "INVALID_TOKEN_TYPE"
	ParentKeyInvalid         Reason = "PARENT_KEY_INVALID"
	DerivedTokenNotRevocable Reason = "DERIVED_TOKEN_NOT_REVOCABLE"
	KeyExpired               Reason = "API_KEY_EXPIRED"
	KeyRevoked               Reason = "API_KEY_REVOKED"
	KeyNotFound              Reason = "API_KEY_NOT_FOUND"
	KeyExists                Reason = "API_KEY_EXISTS"
	KeyQuotaExceeded         Reason = "API_KEY_QUOTA_EXCEEDED"
	NotFound                 Reason = "NOT_FOUND"
	Forbidden                Reason = "FORBIDDEN"
	IPNotAllowed             Reason = "IP_NOT_ALLOWED"
	Conflict                 Reason = "CONFLICT"
	FailedPrecondition       Reason = "FAILED_PRECONDITION"
	TooManyRequests          Reason = "TOO_MANY_REQUESTS"
	Unavailable              Reason = "SERVICE_UNAVAILABLE"
	DeadlineExceeded         Reason = "GATEWAY_TIMEOUT"
	Internal                 Reason = "INTERNAL_SERVER_ERROR"
)

// Error is a failure with a reason. Message is for the caller and holds no key material; Err, when there is one, is for
// the operator's log and is never shown to a caller.
type Error struct {
	Reason  Reason
	Message string
	Err     error

	// RetryAfter is how long a caller should wait before trying again; zero: not known.
	RetryAfter time.Duration
}

// Error returns the message and, for the log, its cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// NewError makes an [Error] without a cause.
func NewError(reason Reason, message string) *Error { return &Error{Reason: reason, Message: message} }

// WrapError makes an [Error] with a cause for the log.
func WrapError(reason Reason, message string, err error) *Error {
	return &Error{Reason: reason, Message: message, Err: err}
}

// ReasonOf returns the reason of the first [Error] in err's tree, and [Internal] when there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return Internal
}
