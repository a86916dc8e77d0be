package adminapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/policy"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/verify"
)

// cacheHeader reports whether a verdict was remembered (HIT) or looked up (MISS).
const cacheHeader = "Ory-Talos-Cache"

func verifyKey(s *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	var in client.VerifyRequest
	if err := body.Decode(w, r, maxBody, &in); err != nil {
		return err
	}
	if in.Credential == "" {
		return core.NewError(core.CredentialRequired, "credential: is required")
	}
	if err := n.catchUp(r); err != nil {
		return err
	}
	caller := s.callerOf(r, n)
	if !presentable(in.Credential) {
		caller.mark(w)
		writeJSON(w, http.StatusOK, refusal(core.CodeInvalidFormat))
		return nil
	}
	result, err := n.Verifier.Verify(verify.WithClient(r.Context(), caller.addr), n.ID, in.Credential, cacheMode(r))
	if err != nil {
		return err
	}
	results := [1]verify.Result{result}
	caller.accept(results[:])
	if result = results[0]; result.Err != nil {
		return result.Err
	}
	caller.mark(w)
	switch {
	case result.Cache.FromCache():
		w.Header().Set(cacheHeader, "HIT")
	case result.Cache != verify.Local:
		w.Header().Set(cacheHeader, "MISS")
	}
	out, decision := caller.judge(r.Context(), &result)
	if out.RateLimitPolicy != nil {
		var limit *ratelimit.Result
		if decision.Counted {
			limit = &decision.Limit
		}
		SetRateLimit(w.Header(), result.Verdict.RateLimit, limit)
	}
	writeJSON(w, http.StatusOK, &out)
	return nil
}

func batchVerify(s *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	var in client.BatchVerifyRequest
	if err := body.Decode(w, r, maxBody, &in); err != nil {
		return err
	}
	if len(in.Requests) < 1 || len(in.Requests) > client.MaxBatch {
		return core.NewError(core.BadRequest, "requests: must hold 1 to "+strconv.Itoa(client.MaxBatch)+" items")
	}
	out := client.BatchVerifyResponse{Results: make([]client.VerifyResponse, len(in.Requests))}
	credentials := make([]string, 0, len(in.Requests))
	places := make([]int, 0, len(in.Requests)) // of the credentials in the answer
	for i, item := range in.Requests {
		if !presentable(item.Credential) {
			out.Results[i] = refusal(core.CodeInvalidFormat)
			continue
		}
		credentials, places = append(credentials, item.Credential), append(places, i)
	}
	if err := n.catchUp(r); err != nil {
		return err
	}
	caller := s.callerOf(r, n)
	if len(credentials) > 0 {
		ctx := verify.WithClient(r.Context(), caller.addr)
		results := n.Verifier.VerifyMany(ctx, n.ID, credentials, cacheMode(r))
		caller.accept(results)
		if err := allFailed(results, len(credentials)); err != nil {
			return err
		}
		for i := range results {
			out.Results[places[i]], _ = caller.judge(r.Context(), &results[i])
		}
	}
	caller.mark(w)
	writeJSON(w, http.StatusOK, &out)
	return nil
}

// presentable reports whether a string can be a credential at all.
func presentable(s string) bool { return credential.Check(s) == nil }

// allFailed returns an error when none of the credentials that were asked about could be judged: then it is the call
// that failed. Anything else than one result for each credential is such a failure too.
func allFailed(results []verify.Result, want int) error {
	if len(results) != want {
		return core.NewError(core.Internal, "the verifier answered "+strconv.Itoa(len(results))+" of "+
			strconv.Itoa(want)+" credentials")
	}
	for i := range results {
		if results[i].Err == nil {
			return nil
		}
	}
	return results[0].Err
}

// judge turns what is known of a key into the answer for one caller.
func (a *caller) judge(ctx context.Context, result *verify.Result) (out client.VerifyResponse, d policy.Decision) {
	if result.Err != nil || result.Verdict == nil {
		return refusal(core.CodeInternal), d
	}
	v := result.Verdict
	judged := v
	if a.edge {
		judged = withoutList(v)
	}
	d = policy.Decide(ctx, judged, policy.Request{Now: result.Now, Client: a.addr}, nil, a.limiter)
	if d.LimitErr != nil {
		a.rare.Error("a use of a key could not be counted, and was let through", zap.Error(d.LimitErr))
	}
	out = client.VerifyResponse{IsValid: true}
	if d.Code != core.CodeValid {
		out = refusal(d.Code)
	}
	switch d.Code {
	case core.CodeValid, core.CodeRevoked, core.CodeExpired, core.CodeIPNotAllowed, core.CodeRateLimited:
	default:
		return out, d // nothing is told of a key that the caller was not shown to hold
	}
	out.KeyID = v.KeyID
	out.ActorID = v.ActorID
	out.Scopes = v.Scopes
	out.Metadata = v.Metadata
	out.Status = statusName(statusAt(v, result.Now))
	if v.Visibility != core.VisibilityUnknown { // of an expired token, whose key was not looked at
		out.Visibility = visibilityName(v.Visibility)
	}
	out.ExpireTime = v.ExpireTime.UTC()
	out.Issuer = v.Issuer
	out.RateLimitPolicy = limitPolicy(v.RateLimit)
	if d.Counted {
		remaining := client.Int64(d.Limit.Remaining)
		out.RateLimitRemaining = &remaining
		out.RateLimitResetTime = result.Now.Add(d.Limit.ResetAfter).UTC()
	}
	if a.edge {
		out.IPRestriction = restriction(v.AllowedCIDRs)
		out.LineageID = v.LineageID
	}
	return out, d
}

// statusAt is the state of a key at a moment: a verdict that was remembered may have expired since.
func statusAt(v *core.Verdict, now time.Time) core.Status {
	if end := v.End(); v.Status == core.StatusActive && !end.IsZero() && !now.Before(end) {
		return core.StatusExpired
	}
	return v.Status
}

func refusal(code core.Code) client.VerifyResponse {
	f := failureOf(code)
	return client.VerifyResponse{ErrorCode: f.code, ErrorMessage: f.message}
}

// cacheMode reads what the caller asks of the cache (RFC 9111, sections 5.2.1 and 5.4).
func cacheMode(r *http.Request) verify.Mode {
	mode := verify.Use
	if strings.Contains(strings.ToLower(r.Header.Get("Pragma")), "no-cache") {
		mode = verify.NoCache
	}
	for _, field := range r.Header["Cache-Control"] {
		for directive := range strings.SplitSeq(field, ",") {
			switch strings.ToLower(strings.TrimSpace(directive)) {
			case "no-store":
				return verify.NoStore
			case "no-cache":
				mode = verify.NoCache
			}
		}
	}
	return mode
}
