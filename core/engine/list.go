package engine

import (
	"context"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// Sizes of a page of a list.
const (
	DefaultPageSize = 50
	MaxPageSize     = 1000
)

// ListRequest asks for a page of the network's keys of one kind.
type ListRequest struct {
	Kind      core.Kind // Issued or Imported
	PageSize  int       // 0: DefaultPageSize; more than MaxPageSize: MaxPageSize
	PageToken string    // the page before's NextPageToken; empty: the first page
	Filter    string    // as ParseFilter reads it
}

// ListResult is a page of a list.
type ListResult struct {
	Keys          []core.Key
	NextPageToken string // empty: this is the last page
}

// List returns a page of keys in the order of their creation. Keys that come while a list is read are on its last
// pages, or not in it; all that stay are in it, once. A negative page size, a filter that is not one, and a token of
// another network, kind or filter are [core.BadRequest].
func (e *Engine) List(ctx context.Context, r ListRequest) (ListResult, error) {
	switch {
	case r.Kind != core.Issued && r.Kind != core.Imported:
		return ListResult{}, badRequest("keys of one kind at a time can be listed")
	case r.PageSize < 0:
		return ListResult{}, badRequest("page_size: must not be negative")
	case r.PageSize == 0:
		r.PageSize = DefaultPageSize
	}
	filter, err := ParseFilter(r.Filter)
	if err != nil {
		return ListResult{}, err
	}
	cursor, err := e.readPageToken(r.Kind, filter, r.PageToken)
	if err != nil {
		return ListResult{}, err
	}
	page, err := e.store.List(ctx, core.ListQuery{
		Network: e.network, Kind: r.Kind, ActorID: filter.ActorID, Status: filter.Status, Now: time.Now(),
		UsedBefore: filter.UsedBefore, After: cursor, Limit: min(r.PageSize, MaxPageSize),
	})
	if err != nil {
		return ListResult{}, err
	}
	result := ListResult{Keys: page.Keys}
	if page.Next != 0 {
		result.NextPageToken = e.pageToken(r.Kind, filter, page.Next)
	}
	return result, nil
}
