package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

func issue(_ *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	var in client.IssueRequest
	if err := body.Decode(w, r, maxBody, &in); err != nil {
		return err
	}
	request, err := issueRequest(&in)
	if err != nil {
		return err
	}
	key, secret, err := n.Keys.Issue(r.Context(), request)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, &client.IssueResponse{IssuedAPIKey: record(&key, time.Now()), Secret: secret})
	return nil
}

// issueRequest takes over the fields of a request, and refuses what they cannot mean. The domain judges the rest.
func issueRequest(in *client.IssueRequest) (engine.IssueRequest, error) {
	out := engine.IssueRequest{
		Name:      in.Name,
		ActorID:   in.ActorID,
		Scopes:    in.Scopes,
		Metadata:  in.Metadata,
		RequestID: in.RequestID,
	}
	var err error
	if out.TTL, err = parseTTL(in.TTL); err != nil {
		return out, err
	}
	if out.Visibility, err = parseVisibility(in.Visibility); err != nil {
		return out, err
	}
	if out.RateLimit, err = parsePolicy(in.RateLimitPolicy); err != nil {
		return out, err
	}
	if in.RateLimitPolicy != nil && out.RateLimit.Quota < 1 { // what was meant to be a limit must not become none
		return out, core.NewError(core.BadRequest,
			"rate_limit_policy.quota: must be 1 or more; leave rate_limit_policy out for a key without a limit")
	}
	out.AllowedCIDRs, err = parseRestriction(in.IPRestriction)
	return out, err
}

func getKey(w http.ResponseWriter, r *http.Request, n Network, kind core.Kind, keyID string) error {
	key, err := n.Keys.Get(r.Context(), kind, keyID)
	if err != nil {
		return err
	}
	writeRecord(w, &key)
	return nil
}

func revoke(w http.ResponseWriter, r *http.Request, n Network, kind core.Kind, keyID string) error {
	q, err := changeQuery(r, client.LineageParameter)
	if err != nil {
		return err
	}
	lineage, err := q.flag(client.LineageParameter)
	if err != nil {
		return err
	}
	var in client.RevokeRequest
	if err := body.Decode(w, r, maxBody, &in); err != nil {
		return err
	}
	reason, err := ParseReason(in.Reason)
	if err != nil {
		return err
	}
	request := engine.RevokeRequest{Reason: reason, Description: in.Description}
	if lineage {
		revoked, err := n.Keys.RevokeLineage(r.Context(), kind, keyID, request)
		if err != nil {
			return err
		}
		if IsEdge(r) {
			setChangedKeys(w.Header(), revoked)
		}
	} else if _, err := n.Keys.Revoke(r.Context(), kind, keyID, request); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

func suspend(w http.ResponseWriter, r *http.Request, n Network, kind core.Kind, keyID string) error {
	return changeState(w, r, kind, keyID, n.Keys.Suspend)
}

func resume(w http.ResponseWriter, r *http.Request, n Network, kind core.Kind, keyID string) error {
	return changeState(w, r, kind, keyID, n.Keys.Resume)
}

// changeState makes a change that a request says nothing of but the key, and answers with its record.
func changeState(
	w http.ResponseWriter, r *http.Request, kind core.Kind, keyID string,
	change func(context.Context, core.Kind, string) (core.Key, error),
) error {
	if _, err := changeQuery(r); err != nil {
		return err
	}
	if err := body.Decode(w, r, maxBody, &struct{}{}); err != nil {
		return err
	}
	key, err := change(r.Context(), kind, keyID)
	if err != nil {
		return err
	}
	writeRecord(w, &key)
	return nil
}

func selfRevoke(_ *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	var in client.SelfRevokeRequest
	if err := body.Decode(w, r, maxSelfRevokeBody, &in); err != nil {
		return err
	}
	reason, err := ParseReason(in.Reason)
	if err != nil {
		return err
	}
	if _, err := n.holders().SelfRevoke(r.Context(), in.Credential, reason); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

func derive(s *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	var in client.DeriveRequest
	if err := body.Decode(w, r, maxBody, &in); err != nil {
		return err
	}
	request := engine.DeriveRequest{
		Credential: in.Credential, Scopes: in.Scopes, CustomClaims: in.CustomClaims, Client: s.ClientAddr(r),
	}
	var err error
	if request.Algorithm, err = parseAlgorithm(in.Algorithm); err != nil {
		return err
	}
	if request.TTL, err = parseTTL(in.TTL); err != nil {
		return err
	}
	token, err := n.Keys.Derive(r.Context(), request)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, &client.DeriveResponse{Token: client.Token{
		Token: token.Token, ExpireTime: token.ExpireTime.UTC(), Scopes: token.Scopes, Claims: token.Claims,
	}})
	return nil
}
