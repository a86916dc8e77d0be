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

// BatchVerify asks about any number of credentials, in as many calls as it takes: see [MaxBatch] and [MaxBatchBytes].
// There are as many results, in the same order. When a call fails, the rest is not asked, and there are no results.
func (c *Client) BatchVerify(ctx context.Context, credentials []string, opts ...CallOption) ([]VerifyResponse, error) {
	b := batchVerification{
		client: c, opts: append([]CallOption{Repeatable()}, opts...),
		results: make([]VerifyResponse, 0, len(credentials)), raw: make([]json.RawMessage, 0, len(credentials)),
	}
	calls := 0
	for begin := 0; begin < len(credentials); calls++ {
		end, err := b.ask(ctx, credentials, begin)
		if err != nil {
			return nil, fmt.Errorf("credentials %d to %d: %w", begin+1, end, err)
		}
		begin = end
	}
	if out := rawOf(opts); out != nil && calls != 1 {
		whole, err := json.Marshal(struct {
			Results []json.RawMessage `json:"results"`
		}{b.raw})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		*out = whole
	}
	return b.results, nil
}

// batchVerification is a [Client.BatchVerify] in progress.
type batchVerification struct {
	client  *Client
	opts    []CallOption
	results []VerifyResponse
	raw     []json.RawMessage // the same, as the server wrote them
}

// ask makes one call, about the credentials from begin to end.
func (b *batchVerification) ask(ctx context.Context, credentials []string, begin int) (end int, err error) {
	end, in, err := nextBatch(credentials, begin)
	if err != nil {
		return end, err
	}
	var part struct {
		Results []json.RawMessage `json:"results"`
	}
	if _, err = b.client.Do(ctx, http.MethodPost, BatchVerifyPath, in, &part, b.opts...); err != nil {
		return end, err
	}
	if len(part.Results) != end-begin {
		return end, fmt.Errorf("%w: %d results for %d credentials", ErrAnswer, len(part.Results), end-begin)
	}
	for _, raw := range part.Results {
		var v verdict
		if json.Unmarshal(raw, &v) != nil {
			return end, fmt.Errorf("%w: a field has another type", ErrAnswer)
		}
		result, err := v.response()
		if err != nil {
			return end, err
		}
		b.results, b.raw = append(b.results, *result), append(b.raw, raw)
	}
	return end, nil
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
			return end, in, fmt.Errorf("encoding the request: %w", err)
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
