package client

import (
	"encoding/json"
	"time"
)

// TokenAlgorithm is the kind of a derived token.
type TokenAlgorithm string

// The kinds of token. Unspecified is a JWT.
const (
	TokenAlgorithmUnspecified TokenAlgorithm = "TOKEN_ALGORITHM_UNSPECIFIED"
	TokenAlgorithmJWT         TokenAlgorithm = "TOKEN_ALGORITHM_JWT"
	TokenAlgorithmMacaroon    TokenAlgorithm = "TOKEN_ALGORITHM_MACAROON"
)

// DeriveRequest asks for a short-lived token of a key.
type DeriveRequest struct {
	Credential   string          `json:"credential"`              // of an issued or imported key; required
	Algorithm    TokenAlgorithm  `json:"algorithm,omitempty"`     // empty: a JWT
	TTL          string          `json:"ttl,omitempty"`           // a duration within the key's lifetime; empty: 1 hour
	Scopes       []string        `json:"scopes,omitzero"`         // nil: all that the key holds; empty: none
	CustomClaims json.RawMessage `json:"custom_claims,omitempty"` // a JSON object of at most 4 KiB
}

// DeriveResponse is the answer to a [DeriveRequest].
type DeriveResponse struct {
	Token Token `json:"token"`
}

// Token is a derived token and what it says.
type Token struct {
	Token      string          `json:"token"`
	ExpireTime time.Time       `json:"expire_time,omitzero"`
	Scopes     []string        `json:"scopes,omitempty"`
	Claims     json.RawMessage `json:"claims,omitempty"` // a JSON object
}
