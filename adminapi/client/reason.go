package client

// The reasons of an [Error], for programs. What each means is in the README of the API.
const (
	ReasonBadRequest               = "BAD_REQUEST"
	ReasonCredentialRequired       = "CREDENTIAL_REQUIRED"
	ReasonInvalidKeyFormat         = "INVALID_API_KEY_FORMAT"
	ReasonUnknownCredential        = "UNKNOWN_CREDENTIAL"
	ReasonInvalidTokenType         = "INVALID_TOKEN_TYPE"
	ReasonDerivedTokenNotRevocable = "DERIVED_TOKEN_NOT_REVOCABLE"
	ReasonKeyExpired               = "API_KEY_EXPIRED"
	ReasonKeyRevoked               = "API_KEY_REVOKED"
	ReasonParentKeyInvalid         = "PARENT_KEY_INVALID"
	ReasonKeyQuotaExceeded         = "API_KEY_QUOTA_EXCEEDED"
	ReasonForbidden                = "FORBIDDEN"
	ReasonIPNotAllowed             = "IP_NOT_ALLOWED"
	ReasonKeyNotFound              = "API_KEY_NOT_FOUND"
	ReasonNotFound                 = "NOT_FOUND" // no such path or network
	ReasonMethodNotAllowed         = "METHOD_NOT_ALLOWED"
	ReasonKeyExists                = "API_KEY_EXISTS"
	ReasonConflict                 = "CONFLICT"
	ReasonFailedPrecondition       = "FAILED_PRECONDITION"
	ReasonTooManyRequests          = "TOO_MANY_REQUESTS"
	ReasonUnavailable              = "SERVICE_UNAVAILABLE"
	ReasonDeadlineExceeded         = "GATEWAY_TIMEOUT"
	ReasonInternal                 = "INTERNAL_SERVER_ERROR"
)
