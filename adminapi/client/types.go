package client

import (
	"encoding/json"
	"reflect"
	"strconv"
	"time"
)

// KeyStatus is the state of a key.
type KeyStatus string

// The states of a key.
const (
	KeyStatusUnspecified KeyStatus = "KEY_STATUS_UNSPECIFIED"
	KeyStatusActive      KeyStatus = "KEY_STATUS_ACTIVE"
	KeyStatusRevoked     KeyStatus = "KEY_STATUS_REVOKED"
	KeyStatusExpired     KeyStatus = "KEY_STATUS_EXPIRED"
)

// KeyVisibility says whether a key may appear in public code.
type KeyVisibility string

// The visibilities. Unspecified is the same as secret in a request.
const (
	KeyVisibilityUnspecified KeyVisibility = "KEY_VISIBILITY_UNSPECIFIED"
	KeyVisibilitySecret      KeyVisibility = "KEY_VISIBILITY_SECRET"
	KeyVisibilityPublic      KeyVisibility = "KEY_VISIBILITY_PUBLIC"
)

// RevocationReason says why a key was revoked.
type RevocationReason string

// The reasons for a revocation. Only an operator may give PrivilegeWithdrawn.
const (
	RevocationReasonUnspecified        RevocationReason = "REVOCATION_REASON_UNSPECIFIED"
	RevocationReasonKeyCompromise      RevocationReason = "REVOCATION_REASON_KEY_COMPROMISE"
	RevocationReasonAffiliationChanged RevocationReason = "REVOCATION_REASON_AFFILIATION_CHANGED"
	RevocationReasonSuperseded         RevocationReason = "REVOCATION_REASON_SUPERSEDED"
	RevocationReasonPrivilegeWithdrawn RevocationReason = "REVOCATION_REASON_PRIVILEGE_WITHDRAWN"
)

// VerificationErrorCode says why a credential is not valid.
type VerificationErrorCode string

// The codes of a verification.
const (
	VerificationErrorUnspecified      VerificationErrorCode = "VERIFICATION_ERROR_UNSPECIFIED"
	VerificationErrorInvalidFormat    VerificationErrorCode = "VERIFICATION_ERROR_INVALID_FORMAT"
	VerificationErrorExpired          VerificationErrorCode = "VERIFICATION_ERROR_EXPIRED"
	VerificationErrorRevoked          VerificationErrorCode = "VERIFICATION_ERROR_REVOKED"
	VerificationErrorNotFound         VerificationErrorCode = "VERIFICATION_ERROR_NOT_FOUND"
	VerificationErrorSignatureInvalid VerificationErrorCode = "VERIFICATION_ERROR_SIGNATURE_INVALID"
	VerificationErrorInternal         VerificationErrorCode = "VERIFICATION_ERROR_INTERNAL"
	VerificationErrorIPNotAllowed     VerificationErrorCode = "VERIFICATION_ERROR_IP_NOT_ALLOWED"
	VerificationErrorRateLimited      VerificationErrorCode = "VERIFICATION_ERROR_RATE_LIMITED"
)

// IPRestriction says from where a key may be used.
type IPRestriction struct {
	AllowedCIDRs []string `json:"allowed_cidrs,omitempty"` // such as "10.0.0.0/8"; none: from everywhere
}

// RateLimitPolicy says how often a key may be used.
type RateLimitPolicy struct {
	Quota  Int64  `json:"quota,omitempty"`  // uses in each window, 1 or more
	Unit   string `json:"unit,omitempty"`   // what is counted, for people
	Window string `json:"window,omitempty"` // a duration; answers have it in seconds, "60s"
}

// Int64 is a 64-bit integer, which the API writes as a JSON string and reads as a string or a number.
type Int64 int64

// MarshalJSON writes the number as a string.
func (n Int64) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, strconv.FormatInt(int64(n), 10)), nil
}

// UnmarshalJSON reads a string or a number.
func (n *Int64) UnmarshalJSON(b []byte) error {
	s := string(b)
	if len(s) >= 2 && s[0] == '"' {
		s = s[1 : len(s)-1]
	}
	if s == "null" {
		return nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return &json.UnmarshalTypeError{Value: "value", Type: reflect.TypeFor[Int64]()}
	}
	*n = Int64(v)
	return nil
}

// Key is the record of a key. It never holds the credential.
type Key struct {
	KeyID                 string           `json:"key_id"`
	Name                  string           `json:"name,omitempty"`
	ActorID               string           `json:"actor_id,omitempty"`
	Scopes                []string         `json:"scopes,omitempty"`
	Metadata              json.RawMessage  `json:"metadata,omitempty"` // a JSON object
	Visibility            KeyVisibility    `json:"visibility,omitempty"`
	Status                KeyStatus        `json:"status,omitempty"`
	IPRestriction         *IPRestriction   `json:"ip_restriction,omitempty"`
	RateLimitPolicy       *RateLimitPolicy `json:"rate_limit_policy,omitempty"`
	CreateTime            time.Time        `json:"create_time,omitzero"`
	UpdateTime            time.Time        `json:"update_time,omitzero"`
	ExpireTime            time.Time        `json:"expire_time,omitzero"` // zero: never
	LastUsedTime          time.Time        `json:"last_used_time,omitzero"`
	SuspendTime           time.Time        `json:"suspend_time,omitzero"` // of a revoked key that can be resumed
	PredecessorKeyID      string           `json:"predecessor_key_id,omitempty"`
	SuccessorKeyID        string           `json:"successor_key_id,omitempty"`
	RevocationReason      RevocationReason `json:"revocation_reason,omitempty"`
	RevocationDescription string           `json:"revocation_description,omitempty"`
}

// IssuedAPIKey is the record of a key that the server made.
type IssuedAPIKey = Key

// ImportedAPIKey is the record of a key that was made elsewhere. The API has two types for the two; the fields are the
// same.
type ImportedAPIKey = Key

// IssueRequest asks for a new key. Name and ActorID are required; the zero value of each other field leaves it out.
type IssueRequest struct {
	// Name is what the key is called, for people.
	Name string `json:"name"`
	// ActorID names whose key it is, for the app behind the gate.
	ActorID string `json:"actor_id"`
	// Scopes are what the key may do: scope tokens of RFC 6749. None: it may do what needs no scope.
	Scopes []string `json:"scopes,omitempty"`
	// TTL is the key's lifetime: a duration such as "3600s", "1h30m", "90d" or "1y6mo", from 1 s to what the server
	// allows. Empty: the server's default.
	TTL string `json:"ttl,omitempty"`
	// Metadata is a JSON object of at most 4 KiB, which the app behind the gate is shown.
	Metadata json.RawMessage `json:"metadata,omitempty"`
	// Visibility is KeyVisibilitySecret unless it says otherwise.
	Visibility KeyVisibility `json:"visibility,omitempty"`
	// IPRestriction says from where the key may be used. nil: from everywhere.
	IPRestriction *IPRestriction `json:"ip_restriction,omitempty"`
	// RateLimitPolicy says how often the key may be used. nil: without a limit.
	RateLimitPolicy *RateLimitPolicy `json:"rate_limit_policy,omitempty"`
	// RequestID, at most 36 characters, makes the call idempotent: a repeat returns the same key.
	RequestID string `json:"request_id,omitempty"`
}

// IssueResponse is the answer to an [IssueRequest].
type IssueResponse struct {
	IssuedAPIKey IssuedAPIKey `json:"issued_api_key"`
	// Secret is the credential. It is given this once; an idempotent repeat of the request has none.
	Secret string `json:"secret,omitempty"`
}

// GetRequest names a key whose record is asked for.
type GetRequest struct {
	Kind  Kind   // AnyKind: told by the id
	KeyID string // required
}

// RevokeRequest asks to revoke a key.
type RevokeRequest struct {
	Kind  Kind   `json:"-"` // AnyKind: told by the id
	KeyID string `json:"-"` // required

	// Lineage says that all predecessors and successors of the key are revoked with it.
	Lineage bool `json:"-"`

	Reason      RevocationReason `json:"reason,omitempty"`      // empty: unspecified
	Description string           `json:"description,omitempty"` // only with RevocationReasonPrivilegeWithdrawn
}

// SuspendRequest names a key that is to be refused until it is resumed.
type SuspendRequest struct {
	Kind  Kind   // AnyKind: told by the id
	KeyID string // required
}

// ResumeRequest names a suspended key that is to be accepted again.
type ResumeRequest struct {
	Kind  Kind   // AnyKind: told by the id
	KeyID string // required
}

// SelfRevokeRequest asks to revoke the key behind a credential.
type SelfRevokeRequest struct {
	Credential string           `json:"credential"`
	Reason     RevocationReason `json:"reason,omitempty"` // not RevocationReasonPrivilegeWithdrawn
}

// EdgeHeader and PositionHeader are the headers of what an edge adds. A verification that is asked for with
// EdgeHeader: 1 judges the key alone. An answer with EdgeHeader: 1 did, and PositionHeader names the position in the
// feed of changes up to which every change is in it. Other implementations of the API know neither.
const (
	EdgeHeader     = "Talos-Edge"
	PositionHeader = "Talos-Position"
)

// ChangedKeysHeader is the header of an answer to an edge that names the keys which a change was about and its request
// did not name: their ids, separated by commas, or AnyKey when there are very many.
const (
	ChangedKeysHeader = "Talos-Changed-Keys"
	AnyKey            = "*"
)

// LineageParameter is the query parameter of a revocation that takes predecessors and successors with it.
const LineageParameter = "lineage"

// VerifyRequest asks whether a credential is valid.
type VerifyRequest struct {
	Credential string `json:"credential"`
}

// VerifyResponse is the verdict on one credential. Of a credential that is not valid, the fields after ErrorMessage
// are set only where the key is known.
type VerifyResponse struct {
	IsValid            bool                  `json:"is_valid"`
	ErrorCode          VerificationErrorCode `json:"error_code,omitempty"`
	ErrorMessage       string                `json:"error_message,omitempty"`
	KeyID              string                `json:"key_id,omitempty"`
	ActorID            string                `json:"actor_id,omitempty"`
	Scopes             []string              `json:"scopes,omitempty"`
	Metadata           json.RawMessage       `json:"metadata,omitempty"`
	Status             KeyStatus             `json:"status,omitempty"`
	Visibility         KeyVisibility         `json:"visibility,omitempty"`
	ExpireTime         time.Time             `json:"expire_time,omitzero"`
	Issuer             string                `json:"issuer,omitempty"`
	IPRestriction      *IPRestriction        `json:"ip_restriction,omitempty"` // only of an answer to an edge
	LineageID          string                `json:"lineage_id,omitempty"`     // what uses count for; only to an edge
	RateLimitPolicy    *RateLimitPolicy      `json:"rate_limit_policy,omitempty"`
	RateLimitRemaining *Int64                `json:"rate_limit_remaining,omitempty"`
	RateLimitResetTime time.Time             `json:"rate_limit_reset_time,omitzero"`
}

// BatchVerifyRequest asks about 1 to 100 credentials.
type BatchVerifyRequest struct {
	Requests []VerifyRequest `json:"requests"`
}

// BatchVerifyResponse holds the verdicts in the order of the request.
type BatchVerifyResponse struct {
	Results []VerifyResponse `json:"results"`
}

// JWKS is the set of public keys that derived tokens are signed with. The set is written twice: at the top level, where
// JWT libraries look for it (RFC 7517, section 5), and under the name jwks.
type JWKS struct {
	Keys []json.RawMessage `json:"keys"`
	JWKS KeySet            `json:"jwks"`
}

// KeySet is a JSON Web Key set.
type KeySet struct {
	Keys []json.RawMessage `json:"keys"`
}

// Health is the answer of the health calls.
type Health struct {
	Status string `json:"status"`
}

// ErrorResponse is the envelope of every refusal.
type ErrorResponse struct {
	Error ErrorBody `json:"error"`
}

// ErrorBody is a refusal: the HTTP status, its gRPC name, and a message for people.
type ErrorBody struct {
	Code    int           `json:"code"`
	Message string        `json:"message"`
	Status  string        `json:"status"`
	Details []ErrorDetail `json:"details"`
}

// ErrorDetail carries the reason, for programs (google.rpc.ErrorInfo, AIP-193).
type ErrorDetail struct {
	Type     string            `json:"@type"`
	Reason   string            `json:"reason"`
	Domain   string            `json:"domain"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// ErrorInfoType and ErrorDomain are the constant fields of an [ErrorDetail].
const (
	ErrorInfoType = "type.googleapis.com/google.rpc.ErrorInfo"
	ErrorDomain   = "www.ory.com/talos"
)
