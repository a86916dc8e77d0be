package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// BatchCreateEncoded is [Client.BatchCreateImported] for items that are encoded already: each is sent as it stands, so
// that nothing which this client does not know is lost.
func (c *Client) BatchCreateEncoded(
	ctx context.Context, items []json.RawMessage,
) (*BatchCreateResponse, json.RawMessage, error) {
	out, raw, err := call[BatchCreateResponse](ctx, c, http.MethodPost, collectionPath(Imported)+":batchCreate",
		BatchRequest{Requests: items})
	if refused, ok := errors.AsType[*Error](err); ok {
		var all BatchCreateResponse
		answer := json.RawMessage(refused.body)
		if json.Unmarshal(answer, &all) == nil && all.belongsTo(len(items)) {
			return &all, answer, err
		}
	}
	if err == nil && !out.belongsTo(len(items)) {
		return nil, nil, fmt.Errorf("%w: its results are not those of %d keys", ErrAnswer, len(items))
	}
	return out, raw, err
}

// belongsTo tells whether there is one result for each of n requests, in their order.
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
