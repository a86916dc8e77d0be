package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// List iterates over keys in the order of their creation, from r.PageToken on. It reads a page when the one before is
// used up, and each page is a call of its own. It ends after the last key, or with the first error, which comes with a
// zero Key. A key that is created meanwhile is seen at most once, and none is skipped.
func (c *Client) List(ctx context.Context, r ListRequest, opts ...CallOption) iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		next := r
		for {
			page, err := c.ListPage(ctx, next, opts...)
			if err == nil && page.NextPageToken != "" && page.NextPageToken == next.PageToken {
				err = fmt.Errorf("%w: a page names itself as the next one", ErrAnswer)
			}
			if err != nil {
				yield(Key{}, err)
				return
			}
			for _, key := range page.Keys {
				if !yield(key, nil) {
					return
				}
			}
			if page.NextPageToken == "" {
				return
			}
			next.PageToken = page.NextPageToken
		}
	}
}

// ListPage reads one page of keys. [Client.List] reads all of them.
func (c *Client) ListPage(ctx context.Context, r ListRequest, opts ...CallOption) (*KeyPage, error) {
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
	kind := r.Kind
	if kind == AnyKind {
		kind = Issued
	}
	out, err := call[struct {
		Issued   []Key  `json:"issued_api_keys"`
		Imported []Key  `json:"imported_api_keys"`
		Next     string `json:"next_page_token"`
	}](ctx, c, http.MethodGet, withQuery(collectionPath(kind), query), nil, opts)
	if err != nil {
		return nil, err
	}
	page := &KeyPage{Keys: out.Issued, NextPageToken: out.Next}
	if kind == Imported {
		page.Keys = out.Imported
	}
	for i := range page.Keys {
		if err := complete(&page.Keys[i]); err != nil {
			return nil, err
		}
	}
	return page, nil
}
