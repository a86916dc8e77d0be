package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// MaxImports is how many keys one call can import.
const MaxImports = 1000

// BatchImport imports 1 to [MaxImports] keys with one call. Each is judged alone, and the answer says what came of
// each, in the order of the requests: that some or all of them could not be imported is an answer and no error. An
// error says that the call failed as a whole, and that no key was imported unless the connection broke.
func (c *Client) BatchImport(
	ctx context.Context, requests []ImportRequest, opts ...CallOption,
) (*BatchCreateResponse, error) {
	items := make([]json.RawMessage, len(requests))
	for i := range requests {
		var err error
		if items[i], err = json.Marshal(&requests[i]); err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
	}
	return c.BatchImportEncoded(ctx, items, opts...)
}

// BatchImportEncoded is [Client.BatchImport] for requests that are encoded already: each is sent as it is, so that
// fields which this client does not know are not lost.
func (c *Client) BatchImportEncoded(
	ctx context.Context, items []json.RawMessage, opts ...CallOption,
) (*BatchCreateResponse, error) {
	out, err := call[BatchCreateResponse](ctx, c, http.MethodPost, collectionPath(Imported)+":batchCreate",
		BatchRequest{Requests: items}, opts)
	// Where none could be imported, the results are beside the refusal.
	if refused, ok := errors.AsType[*Error](err); ok {
		var all BatchCreateResponse
		if json.Unmarshal(refused.body, &all) != nil || !all.belongsTo(len(items)) {
			return nil, err
		}
		if raw := rawOf(opts); raw != nil {
			*raw = refused.body
		}
		return &all, nil
	}
	if err != nil {
		return nil, err
	}
	if !out.belongsTo(len(items)) {
		return nil, fmt.Errorf("%w: its results are not those of %d keys", ErrAnswer, len(items))
	}
	return out, nil
}

// belongsTo reports whether there is one result for each of n requests, in their order.
func (r *BatchCreateResponse) belongsTo(n int) bool {
	if len(r.Results) != n {
		return false
	}
	for i := range r.Results {
		if r.Results[i].Index != i {
			return false
		}
	}
	return true
}
