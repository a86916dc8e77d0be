package adminapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

func importKey(_ *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	var in client.ImportRequest
	if err := body.Decode(w, r, maxBody, &in); err != nil {
		return err
	}
	request, err := importRequest(&in)
	if err != nil {
		return err
	}
	key, err := n.Keys.Import(r.Context(), request)
	if err != nil {
		return err
	}
	writeRecord(w, &key)
	return nil
}

func importRequest(in *client.ImportRequest) (engine.ImportRequest, error) {
	request, err := issueRequest(&in.IssueRequest)
	return engine.ImportRequest{RawKey: in.RawKey, IssueRequest: request}, err
}

// batchRequest is an import of many keys as it is read.
type batchRequest struct {
	Requests body.List[client.ImportRequest] `json:"requests"`
}

// batchCreate imports many keys, each judged alone. When there is one that could be imported, the call succeeded. When
// there is none, it failed as its first key did; the answer then holds, beside the error, what came of each.
func batchCreate(_ *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	var in batchRequest
	if err := body.Decode(w, r, maxBatchBody, &in); err != nil {
		return err
	}
	if in.Requests.Over || len(in.Requests.Items) == 0 {
		return BatchSizeError()
	}
	results, err := importMany(r, n, in.Requests.Items)
	if err != nil {
		return err
	}
	out := client.BatchCreateResponse{Results: make([]client.BatchCreateResult, len(results))}
	now := time.Now()
	for i := range results {
		out.Results[i] = batchResult(i, &results[i], now)
		if results[i].Err != nil {
			out.FailureCount++
		}
	}
	out.SuccessCount = len(results) - out.FailureCount
	if out.SuccessCount > 0 {
		writeJSON(w, http.StatusOK, &out)
		return nil
	}
	e := asError(results[0].Err)
	k := kindOf(e.Reason)
	message := "none of the keys could be imported; the first: " + out.Results[0].ErrorMessage
	writeJSON(w, k.http, &struct {
		client.ErrorResponse
		client.BatchCreateResponse
	}{envelope(k.http, k.grpc, e.Reason, message), out})
	return nil
}

// BatchSizeError refuses a batch that is empty or too large.
func BatchSizeError() error {
	return core.NewError(core.BadRequest, "requests: must hold 1 to "+strconv.Itoa(engine.MaxImports)+" items")
}

// importMany imports the keys whose fields can be read. The results are in the order of the items.
func importMany(r *http.Request, n Network, items []client.ImportRequest) ([]engine.ImportResult, error) {
	results := make([]engine.ImportResult, len(items))
	requests := make([]engine.ImportRequest, 0, len(items))
	places := make([]int, 0, len(items)) // of the requests in results
	for i := range items {
		request, err := importRequest(&items[i])
		if err != nil {
			results[i].Err = err
			continue
		}
		requests, places = append(requests, request), append(places, i)
	}
	if len(requests) == 0 {
		return results, nil
	}
	imported, err := n.Keys.ImportMany(r.Context(), requests)
	if err != nil {
		return nil, err
	}
	if len(imported) != len(requests) {
		return nil, core.NewError(core.Internal, "as many results as keys were expected")
	}
	for i := range imported {
		results[places[i]] = imported[i]
	}
	return results, nil
}

func batchResult(index int, result *engine.ImportResult, now time.Time) client.BatchCreateResult {
	out := client.BatchCreateResult{Index: index}
	if result.Err == nil {
		key := record(&result.Key, now)
		out.ImportedAPIKey = &key
		return out
	}
	e := asError(result.Err)
	out.ErrorCode, out.ErrorMessage = batchErrorCode(e.Reason), e.Message
	if message, ok := hidden[StatusOf(e.Reason)]; ok {
		out.ErrorMessage = message
	}
	return out
}

// batchErrorCode is what a reason reads like for one key of many. That a key exists already is told of that key alone:
// who reads it takes the key for imported, which one whose request id belongs to another is not.
func batchErrorCode(reason core.Reason) client.BatchCreateErrorCode {
	if reason == core.KeyQuotaExceeded {
		return client.BatchCreateErrorResourceExhausted
	}
	if reason == core.Conflict {
		return client.BatchCreateErrorFailedPrecondition
	}
	switch kindOf(reason).grpc {
	case "INVALID_ARGUMENT":
		return client.BatchCreateErrorInvalidArgument
	case "ALREADY_EXISTS":
		return client.BatchCreateErrorAlreadyExists
	case "FAILED_PRECONDITION":
		return client.BatchCreateErrorFailedPrecondition
	default:
		return client.BatchCreateErrorInternal
	}
}

func deleteKey(_ *surface, w http.ResponseWriter, r *http.Request, n Network, keyID string) error {
	if err := n.Keys.Delete(r.Context(), keyID); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}
