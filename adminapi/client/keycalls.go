package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// MaxImports is how many keys one call can import.
const MaxImports = 1000

// Import takes up a key that was made elsewhere. With a request id the call may be repeated, see [Repeatable].
func (c *Client) Import(ctx context.Context, r *ImportRequest) (*ImportedAPIKey, json.RawMessage, error) {
	var opts []CallOption
	if r.RequestID != "" {
		opts = append(opts, Repeatable())
	}
	return call[ImportedAPIKey](ctx, c, http.MethodPost, collectionPath(Imported), r, opts...)
}

// BatchCreateImported takes up 1 to [MaxImports] keys. That some could not be imported is an answer and no error. When
// none could, the error is the server's refusal, and beside it stands the answer, unless the refusal is of the call as
// a whole: then the answer is nil.
func (c *Client) BatchCreateImported(
	ctx context.Context, requests []ImportRequest,
) (*BatchCreateResponse, json.RawMessage, error) {
	items := make([]json.RawMessage, len(requests))
	for i := range requests {
		var err error
		if items[i], err = json.Marshal(&requests[i]); err != nil {
			return nil, nil, fmt.Errorf("encoding the request: %w", err)
		}
	}
	return c.BatchCreateEncoded(ctx, items)
}

// List reads a page of the keys of a kind, which is not AnyKind.
func (c *Client) List(ctx context.Context, kind Kind, r ListRequest) (*KeyPage, json.RawMessage, error) {
	query := url.Values{}
	if r.PageSize != 0 {
		query.Set("page_size", strconv.Itoa(r.PageSize))
	}
	if r.PageToken != "" {
		query.Set("page_token", r.PageToken)
	}
	if r.Filter != "" {
		query.Set("filter", r.Filter)
	}
	out, raw, err := call[struct {
		Issued   []Key  `json:"issued_api_keys"`
		Imported []Key  `json:"imported_api_keys"`
		Next     string `json:"next_page_token"`
	}](ctx, c, http.MethodGet, withQuery(collectionPath(kind), query), nil)
	if err != nil {
		return nil, nil, err
	}
	page := &KeyPage{Keys: out.Issued, NextPageToken: out.Next}
	if kind == Imported {
		page.Keys = out.Imported
	}
	return page, raw, nil
}

// Update changes fields of a key of a kind, which is not AnyKind, and returns its record.
func (c *Client) Update(
	ctx context.Context, kind Kind, keyID string, r *UpdateRequest,
) (*Key, json.RawMessage, error) {
	query := url.Values{}
	if len(r.Mask) > 0 {
		query.Set("update_mask", strings.Join(r.Mask, ","))
	}
	return call[Key](ctx, c, http.MethodPatch, withQuery(KeyPath(kind, keyID), query), r)
}

// RotateIssued puts a new key in the place of an issued one, which is revoked.
func (c *Client) RotateIssued(
	ctx context.Context, keyID string, r *RotateRequest,
) (*RotateResponse, json.RawMessage, error) {
	return call[RotateResponse](ctx, c, http.MethodPost, KeyPath(Issued, keyID)+":rotate", r)
}

// DeleteImported removes an imported key for good. It can be imported again.
func (c *Client) DeleteImported(ctx context.Context, keyID string) (json.RawMessage, error) {
	return c.Do(ctx, http.MethodDelete, KeyPath(Imported, keyID), nil, nil)
}

// OpenAPI reads the description of the API, an OpenAPI document.
func (c *Client) OpenAPI(ctx context.Context) (json.RawMessage, error) {
	return c.Do(ctx, http.MethodGet, "/openapi.json", nil, nil)
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}
