package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Issue makes a new key. The answer holds its secret, which cannot be read again.
//
// With a request id the call may be made twice, see [Repeatable]. When the id was used before, the server answers with
// the key that was made then and without its secret; the error is a [*SecretLostError], which holds the key.
func (c *Client) Issue(ctx context.Context, r IssueRequest, opts ...CallOption) (*IssueResponse, error) {
	opts = repeatableWith(r.RequestID, opts)
	out, err := call[IssueResponse](ctx, c, http.MethodPost, collectionPath(Issued), r, opts)
	if err != nil {
		return nil, err
	}
	if err := complete(&out.IssuedAPIKey); err != nil {
		return nil, err
	}
	if out.Secret == "" {
		return nil, &SecretLostError{Key: out.IssuedAPIKey}
	}
	return out, nil
}

// Import adds a key that was made elsewhere, so that the server verifies it. A key that was imported before is an
// [*Error] with [ReasonKeyExists]. With a request id the call may be made twice, see [Repeatable].
func (c *Client) Import(ctx context.Context, r ImportRequest, opts ...CallOption) (*ImportedAPIKey, error) {
	return c.record(ctx, http.MethodPost, collectionPath(Imported), r, repeatableWith(r.RequestID, opts))
}

// Get reads the record of a key. A key that does not exist is an [*Error] with [ReasonKeyNotFound].
func (c *Client) Get(ctx context.Context, r GetRequest, opts ...CallOption) (*Key, error) {
	return c.record(ctx, http.MethodGet, KeyPath(r.Kind, r.KeyID), nil, opts)
}

// Update changes fields of a key and returns its record. A revoked key is an [*Error] with [ReasonFailedPrecondition].
func (c *Client) Update(ctx context.Context, r UpdateRequest, opts ...CallOption) (*Key, error) {
	query := url.Values{}
	if len(r.Mask) > 0 {
		query.Set("update_mask", strings.Join(r.Mask, ","))
	}
	return c.record(ctx, http.MethodPatch, withQuery(KeyPath(r.Kind, r.KeyID), query), r, opts)
}

// Rotate replaces an issued key by a new one with a secret of its own, and revokes the old one or, with a grace period,
// makes it expire, in one step. A key that is revoked, suspended, expired or rotated already is an [*Error] with
// [ReasonFailedPrecondition]. Another implementation of the API may know no grace period and revoke the old key at
// once: OldIssuedAPIKey of the answer tells.
func (c *Client) Rotate(ctx context.Context, r RotateRequest, opts ...CallOption) (*RotateResponse, error) {
	out, err := call[RotateResponse](ctx, c, http.MethodPost, KeyPath(Issued, r.KeyID)+":rotate", r, opts)
	if err != nil {
		return nil, err
	}
	if err := complete(&out.IssuedAPIKey); err != nil {
		return nil, err
	}
	return out, nil
}

// Revoke revokes a key, for good. When it returns nil, the server admits the key no more. A key that is revoked already
// is an [*Error] with [ReasonFailedPrecondition]; with Lineage, only where all of its lineage is. Another
// implementation of the API may know no lineage and revoke the key alone.
func (c *Client) Revoke(ctx context.Context, r RevokeRequest, opts ...CallOption) error {
	query := url.Values{}
	if r.Lineage {
		query.Set(LineageParameter, "true")
	}
	_, err := c.Do(ctx, http.MethodPost, withQuery(KeyPath(r.Kind, r.KeyID)+":revoke", query), r, nil, opts...)
	return err
}

// Suspend has a key refused, like a revoked one, until it is resumed, and returns its record. A key that is suspended
// or revoked already is an [*Error] with [ReasonFailedPrecondition].
func (c *Client) Suspend(ctx context.Context, r SuspendRequest, opts ...CallOption) (*Key, error) {
	return c.record(ctx, http.MethodPost, KeyPath(r.Kind, r.KeyID)+":suspend", struct{}{}, opts)
}

// Resume has a suspended key accepted again and returns its record. One that is not suspended is an [*Error] with
// [ReasonFailedPrecondition]; where the network's quota of keys has no room for it, with [ReasonKeyQuotaExceeded].
func (c *Client) Resume(ctx context.Context, r ResumeRequest, opts ...CallOption) (*Key, error) {
	return c.record(ctx, http.MethodPost, KeyPath(r.Kind, r.KeyID)+":resume", struct{}{}, opts)
}

// DeleteImported removes an imported key with its record, for good. When it returns nil, the server admits the key no
// more. It can be imported again. Issued keys cannot be deleted.
func (c *Client) DeleteImported(ctx context.Context, keyID string, opts ...CallOption) error {
	_, err := c.Do(ctx, http.MethodDelete, KeyPath(Imported, keyID), nil, nil, opts...)
	return err
}

// record makes a call whose answer is the record of a key.
func (c *Client) record(ctx context.Context, method, path string, in any, opts []CallOption) (*Key, error) {
	key, err := call[Key](ctx, c, method, path, in, opts)
	if err != nil {
		return nil, err
	}
	if err := complete(key); err != nil {
		return nil, err
	}
	return key, nil
}

// complete refuses a record without what every record has: some other server has answered.
func complete(key *Key) error {
	if key.KeyID == "" {
		return fmt.Errorf("%w: a key has no key_id", ErrAnswer)
	}
	return nil
}

// repeatableWith adds [Repeatable] to a call that a request id makes idempotent.
func repeatableWith(requestID string, opts []CallOption) []CallOption {
	if requestID == "" {
		return opts
	}
	return append([]CallOption{Repeatable()}, opts...)
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}
