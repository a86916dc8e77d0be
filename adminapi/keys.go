package adminapi

import (
	"net/http"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

func issue(w http.ResponseWriter, r *http.Request, n Network) error {
	var in client.IssueRequest
	if err := decode(w, r, maxBody, &in); err != nil {
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
func issueRequest(in *client.IssueRequest) (core.IssueRequest, error) {
	out := core.IssueRequest{
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
	var in client.RevokeRequest
	if err := decode(w, r, maxBody, &in); err != nil {
		return err
	}
	reason, err := parseReason(in.Reason)
	if err != nil {
		return err
	}
	request := core.RevokeRequest{Reason: reason, Description: in.Description}
	if _, err := n.Keys.Revoke(r.Context(), kind, keyID, request); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

func (s *surface) selfRevoke(w http.ResponseWriter, r *http.Request, n Network) error {
	var in client.SelfRevokeRequest
	if err := decode(w, r, maxSelfRevokeBody, &in); err != nil {
		return err
	}
	reason, err := parseReason(in.Reason)
	if err != nil {
		return err
	}
	if s.sidecar != nil {
		err = s.sidecar.selfRevoke(r.Context(), n, in.Credential, reason)
	} else {
		err = n.Keys.SelfRevoke(r.Context(), in.Credential, reason)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}
