package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

const (
	adminPath = "/v2alpha1/admin"
	apiPath   = "/v2alpha1"
)

// The paths of the calls that ask about credentials, for [Client.Do].
const (
	VerifyPath      = adminPath + "/apiKeys:verify"
	BatchVerifyPath = adminPath + "/apiKeys:batchVerify"
)

// KeyPath is the path of a key's record, for [Client.Do].
func KeyPath(kind Kind, keyID string) string {
	return collectionPath(kind) + "/" + url.PathEscape(keyID)
}

func collectionPath(kind Kind) string { return adminPath + "/" + string(kind) }

// Kind says which collection a key is in.
type Kind string

// The collections. AnyKind takes a key of either kind.
const (
	AnyKind  Kind = "apiKeys"
	Issued   Kind = "issuedApiKeys"
	Imported Kind = "importedApiKeys"
)

// Issue makes a new key. The answer holds its secret, which cannot be read again. With a request id the call may be
// repeated, see [Repeatable]; a repeat returns the key that was made and no secret, and the error beside them is a
// [*SecretLostError].
func (c *Client) Issue(ctx context.Context, r *IssueRequest) (*IssueResponse, json.RawMessage, error) {
	var opts []CallOption
	if r.RequestID != "" {
		opts = append(opts, Repeatable())
	}
	out, raw, err := call[IssueResponse](ctx, c, http.MethodPost, collectionPath(Issued), r, opts...)
	if err == nil && out.Secret == "" {
		err = &SecretLostError{Key: out.IssuedAPIKey}
	}
	return out, raw, err
}

// Get reads the record of a key of a kind, which is not AnyKind.
func (c *Client) Get(ctx context.Context, kind Kind, keyID string) (*Key, json.RawMessage, error) {
	return call[Key](ctx, c, http.MethodGet, KeyPath(kind, keyID), nil)
}

// GetIssued reads the record of an issued key.
func (c *Client) GetIssued(ctx context.Context, keyID string) (*IssuedAPIKey, json.RawMessage, error) {
	return c.Get(ctx, Issued, keyID)
}

// Revoke revokes a key. When it returns without an error, the server admits the key no more.
func (c *Client) Revoke(ctx context.Context, kind Kind, keyID string, r RevokeRequest) (json.RawMessage, error) {
	return c.Do(ctx, http.MethodPost, KeyPath(kind, keyID)+":revoke", r, nil)
}

// Derive makes a token of a key.
func (c *Client) Derive(ctx context.Context, r *DeriveRequest) (*DeriveResponse, json.RawMessage, error) {
	return call[DeriveResponse](ctx, c, http.MethodPost, adminPath+"/apiKeys:derive", r)
}

// Verify asks whether a credential is valid. That it is not, is an answer and no error.
func (c *Client) Verify(
	ctx context.Context, credential string, opts ...CallOption,
) (*VerifyResponse, json.RawMessage, error) {
	return call[VerifyResponse](ctx, c, http.MethodPost, VerifyPath, VerifyRequest{Credential: credential},
		append([]CallOption{Repeatable()}, opts...)...)
}

// BatchVerify asks about 1 to 100 credentials. The results are as many, in the same order.
func (c *Client) BatchVerify(
	ctx context.Context, credentials []string, opts ...CallOption,
) (*BatchVerifyResponse, json.RawMessage, error) {
	r := BatchVerifyRequest{Requests: make([]VerifyRequest, len(credentials))}
	for i, credential := range credentials {
		r.Requests[i].Credential = credential
	}
	out, raw, err := call[BatchVerifyResponse](ctx, c, http.MethodPost, BatchVerifyPath, r,
		append([]CallOption{Repeatable()}, opts...)...)
	if err == nil && len(out.Results) != len(credentials) {
		return nil, nil, fmt.Errorf("%w: %d results for %d credentials", ErrAnswer, len(out.Results), len(credentials))
	}
	return out, raw, err
}

// SelfRevoke revokes the key behind a credential. It is the call of the key's holder and needs no other right.
func (c *Client) SelfRevoke(
	ctx context.Context, credential string, reason RevocationReason, opts ...CallOption,
) (json.RawMessage, error) {
	return c.Do(ctx, http.MethodPost, apiPath+"/apiKeys:selfRevoke",
		SelfRevokeRequest{Credential: credential, Reason: reason}, nil, opts...)
}

// JWKS reads the public keys that derived tokens are signed with.
func (c *Client) JWKS(ctx context.Context, opts ...CallOption) (*JWKS, json.RawMessage, error) {
	return call[JWKS](ctx, c, http.MethodGet, apiPath+"/derivedKeys/jwks.json", nil, opts...)
}

// Ready returns nil when the server can answer other calls.
func (c *Client) Ready(ctx context.Context, opts ...CallOption) error {
	_, err := c.Do(ctx, http.MethodGet, "/health/ready", nil, nil, opts...)
	return err
}

func call[T any](
	ctx context.Context, c *Client, method, path string, in any, opts ...CallOption,
) (*T, json.RawMessage, error) {
	out := new(T)
	raw, err := c.Do(ctx, method, path, in, out, opts...)
	if err != nil {
		return nil, nil, err
	}
	return out, raw, nil
}
