package client

import "encoding/json"

// ImportRequest asks to take up a key that was made elsewhere.
type ImportRequest struct {
	RawKey string `json:"raw_key"` // the key itself, 1 to 4096 bytes; the server does not keep it
	IssueRequest
}

// BatchCreateRequest asks to take up 1 to 1000 keys. Each is judged alone.
type BatchCreateRequest struct {
	Requests []ImportRequest `json:"requests"`
}

// BatchCreateErrorCode says why a key of several could not be imported.
type BatchCreateErrorCode string

// The codes of an import.
const (
	BatchCreateErrorUnspecified        BatchCreateErrorCode = batchCreateError + "UNSPECIFIED"
	BatchCreateErrorInvalidArgument    BatchCreateErrorCode = batchCreateError + "INVALID_ARGUMENT"
	BatchCreateErrorAlreadyExists      BatchCreateErrorCode = batchCreateError + "ALREADY_EXISTS"
	BatchCreateErrorFailedPrecondition BatchCreateErrorCode = batchCreateError + "FAILED_PRECONDITION"
	BatchCreateErrorInternal           BatchCreateErrorCode = batchCreateError + "INTERNAL"
	BatchCreateErrorResourceExhausted  BatchCreateErrorCode = batchCreateError + "RESOURCE_EXHAUSTED" // the quota

	batchCreateError = "BATCH_CREATE_IMPORTED_API_KEYS_ERROR_"
)

// BatchCreateResult is what came of one key of a [BatchCreateRequest].
type BatchCreateResult struct {
	Index          int                  `json:"index"` // in the request, from 0
	ImportedAPIKey *ImportedAPIKey      `json:"imported_api_key,omitempty"`
	ErrorCode      BatchCreateErrorCode `json:"error_code,omitempty"` // empty: the key was imported
	ErrorMessage   string               `json:"error_message,omitempty"`
}

// BatchCreateResponse holds what came of each key, in the order of the request.
type BatchCreateResponse struct {
	Results      []BatchCreateResult `json:"results"`
	SuccessCount int                 `json:"success_count"`
	FailureCount int                 `json:"failure_count"`
}

// ListRequest says which keys are listed. The zero value is all issued keys.
type ListRequest struct {
	Kind      Kind   // AnyKind: Issued
	Filter    string // actor_id="x", status=KEY_STATUS_…, joined by AND; empty: all keys
	PageSize  int    // keys in a page, at most 1000; 0: the server's default, 50
	PageToken string // the NextPageToken of the page before; empty: the first page
}

// KeyPage is a page of keys, in the order of their creation.
type KeyPage struct {
	Keys          []Key
	NextPageToken string // empty: this is the last page
}

// ListIssuedResponse is a page of issued keys as it is written.
type ListIssuedResponse struct {
	IssuedAPIKeys []IssuedAPIKey `json:"issued_api_keys"`
	NextPageToken string         `json:"next_page_token,omitempty"`
}

// ListImportedResponse is a page of imported keys as it is written.
type ListImportedResponse struct {
	ImportedAPIKeys []ImportedAPIKey `json:"imported_api_keys"`
	NextPageToken   string           `json:"next_page_token,omitempty"`
}

// UpdateRequest asks to change fields of a key. With a mask it changes what the mask names, and clears of that what is
// not set. Without one it changes what is set: a nil field is left as it is, an empty one (an empty list, a zero
// policy, {}) is cleared.
type UpdateRequest struct {
	Kind  Kind     `json:"-"` // AnyKind: told by the id
	KeyID string   `json:"-"` // required
	Mask  []string `json:"-"` // of the Path constants

	Name            *string          `json:"name,omitempty"`
	Scopes          []string         `json:"scopes,omitzero"`
	Metadata        json.RawMessage  `json:"metadata,omitempty"` // a JSON object
	IPRestriction   *IPRestriction   `json:"ip_restriction,omitempty"`
	RateLimitPolicy *RateLimitPolicy `json:"rate_limit_policy,omitempty"`
}

// The paths of an update mask.
const (
	PathName            = "name"
	PathScopes          = "scopes"
	PathMetadata        = "metadata"
	PathIPRestriction   = "ip_restriction"
	PathRateLimitPolicy = "rate_limit_policy"
)

// RotateRequest names an issued key to rotate, and says how the new key differs from it. A nil field is inherited; one
// that points to an empty value is cleared.
type RotateRequest struct {
	KeyID string `json:"-"` // required

	Name            *string          `json:"name,omitempty"`
	Scopes          []string         `json:"scopes,omitzero"`
	Metadata        json.RawMessage  `json:"metadata,omitempty"` // a JSON object
	Visibility      KeyVisibility    `json:"visibility,omitempty"`
	IPRestriction   *IPRestriction   `json:"ip_restriction,omitempty"`
	RateLimitPolicy *RateLimitPolicy `json:"rate_limit_policy,omitempty"`

	// Grace is how long the old key stays valid: a duration such as "24h" or "7d", at most 30 days, and not beyond the
	// old key's own expiry. Empty or 0: it is revoked at once.
	Grace string `json:"grace,omitempty"`
}

// RotateResponse is the answer to a [RotateRequest].
type RotateResponse struct {
	IssuedAPIKey    IssuedAPIKey `json:"issued_api_key"`
	Secret          string       `json:"secret"` // the new credential, given this once
	OldIssuedAPIKey IssuedAPIKey `json:"old_issued_api_key"`
}
