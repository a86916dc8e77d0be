package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Limits of one batchVerify call: the API's of items, and one of bytes that is well under what servers take.
const (
	MaxBatch      = 100
	MaxBatchBytes = 512 << 10
)

// BatchVerifyAll asks about any number of credentials, in as many calls as it takes. The results are as many, in the
// same order; the JSON is one answer that holds them all. When a call fails, the rest is not asked.
func (c *Client) BatchVerifyAll(
	ctx context.Context, credentials []string, opts ...CallOption,
) (*BatchVerifyResponse, json.RawMessage, error) {
	type answer struct {
		Results []json.RawMessage `json:"results"`
	}
	out := &BatchVerifyResponse{Results: make([]VerifyResponse, 0, len(credentials))}
	whole := answer{Results: make([]json.RawMessage, 0, len(credentials))}
	for begin := 0; begin < len(credentials); {
		end, in, err := nextBatch(credentials, begin)
		if err != nil {
			return nil, nil, err
		}
		var part answer
		_, err = c.Do(ctx, http.MethodPost, BatchVerifyPath, in, &part, append([]CallOption{Repeatable()}, opts...)...)
		if err == nil && len(part.Results) != end-begin {
			err = fmt.Errorf("%w: %d results for %d credentials", ErrAnswer, len(part.Results), end-begin)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("credentials %d to %d: %w", begin+1, end, err)
		}
		for _, raw := range part.Results {
			var v VerifyResponse
			if json.Unmarshal(raw, &v) != nil {
				return nil, nil, fmt.Errorf("credentials %d to %d: %w: a field has another type",
					begin+1, end, ErrAnswer)
			}
			out.Results, whole.Results = append(out.Results, v), append(whole.Results, raw)
		}
		begin = end
	}
	raw, err := json.Marshal(whole)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return out, raw, nil
}

// BatchRequest is a [BatchVerifyRequest] or a [BatchCreateRequest] whose items are encoded already.
type BatchRequest struct {
	Requests []json.RawMessage `json:"requests"`
}

// nextBatch makes the request for the credentials from begin to end, which are as many as fit into one. A credential
// that is too long for any batch is asked about alone.
func nextBatch(credentials []string, begin int) (end int, in BatchRequest, err error) {
	size := 0
	for end = begin; end < len(credentials) && end-begin < MaxBatch; end++ {
		item, err := json.Marshal(VerifyRequest{Credential: credentials[end]})
		if err != nil {
			return 0, in, fmt.Errorf("encoding the request: %w", err)
		}
		if size += len(item) + 1; size > MaxBatchBytes-BatchFrame && end > begin {
			break
		}
		in.Requests = append(in.Requests, item)
	}
	return end, in, nil
}

// BatchFrame is what a [BatchRequest] takes beside its items, in bytes.
const BatchFrame = len(`{"requests":[]}`)
