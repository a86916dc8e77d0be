package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Verify asks whether a credential is valid. That it is not, is an answer and no error: see IsValid and ErrorCode.
func (c *Client) Verify(ctx context.Context, credential string, opts ...CallOption) (*VerifyResponse, error) {
	out, err := call[verdict](ctx, c, http.MethodPost, VerifyPath, VerifyRequest{Credential: credential},
		append([]CallOption{Repeatable()}, opts...))
	if err != nil {
		return nil, err
	}
	return out.response()
}

// verdict is a [VerifyResponse] that reports whether is_valid, which every verdict has, is there.
type verdict struct {
	VerifyResponse

	IsValid *bool `json:"is_valid"`
}

func (v *verdict) response() (*VerifyResponse, error) {
	if v.IsValid == nil {
		return nil, fmt.Errorf("%w: a verdict has no is_valid", ErrAnswer)
	}
	v.VerifyResponse.IsValid = *v.IsValid
	return &v.VerifyResponse, nil
}

// Derive makes a token of a key, with at most the key's scopes and lifetime.
func (c *Client) Derive(ctx context.Context, r DeriveRequest, opts ...CallOption) (*Token, error) {
	out, err := call[DeriveResponse](ctx, c, http.MethodPost, adminPath+"/apiKeys:derive", r, opts)
	switch {
	case err != nil:
		return nil, err
	case out.Token.Token == "":
		return nil, fmt.Errorf("%w: it has no token", ErrAnswer)
	default:
		return &out.Token, nil
	}
}

// SelfRevoke revokes the key behind a credential, for good. It is the call of the key's holder: the public surface
// serves it too, and it needs no other right than the credential.
func (c *Client) SelfRevoke(ctx context.Context, r SelfRevokeRequest, opts ...CallOption) error {
	_, err := c.Do(ctx, http.MethodPost, apiPath+"/apiKeys:selfRevoke", r, nil, opts...)
	return err
}

// JWKS reads the public keys that derived JWTs are verified with: the current one and the retired ones.
func (c *Client) JWKS(ctx context.Context, opts ...CallOption) (*JWKS, error) {
	return call[JWKS](ctx, c, http.MethodGet, apiPath+"/derivedKeys/jwks.json", nil, opts)
}

// Ready returns nil when the server can answer other calls, and else an [*Error] with [ReasonUnavailable].
func (c *Client) Ready(ctx context.Context, opts ...CallOption) error {
	_, err := c.Do(ctx, http.MethodGet, "/health/ready", nil, nil, opts...)
	return err
}

// OpenAPI reads the description of the API, an OpenAPI document.
func (c *Client) OpenAPI(ctx context.Context, opts ...CallOption) (json.RawMessage, error) {
	return c.Do(ctx, http.MethodGet, "/openapi.json", nil, nil, opts...)
}

// call makes a call whose answer is a T.
func call[T any](ctx context.Context, c *Client, method, path string, in any, opts []CallOption) (*T, error) {
	out := new(T)
	if _, err := c.Do(ctx, method, path, in, out, opts...); err != nil {
		return nil, err
	}
	return out, nil
}
