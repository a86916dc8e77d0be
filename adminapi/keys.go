package adminapi

import (
	"net/http"
	"net/netip"
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
	writeJSON(w, http.StatusOK, &client.IssueResponse{IssuedAPIKey: issuedKey(&key, time.Now()), Secret: secret})
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
	if in.RateLimitPolicy != nil {
		return out, core.NewError(core.BadRequest,
			"rate_limit_policy: this version does not enforce limits, so it issues no key with one")
	}
	var err error
	if out.TTL, err = parseTTL(in.TTL); err != nil {
		return out, err
	}
	if out.Visibility, err = parseVisibility(in.Visibility); err != nil {
		return out, err
	}
	out.AllowedCIDRs, err = parseRestriction(in.IPRestriction)
	return out, err
}

// parseTTL reads the life of a key. Empty is the same as absent.
func parseTTL(s string) (*time.Duration, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // no life was asked for
	}
	d, err := core.ParseDuration(s)
	if err != nil {
		return nil, core.NewError(core.BadRequest, "ttl: "+err.Error())
	}
	return &d, nil
}

func parseRestriction(in *client.IPRestriction) ([]netip.Prefix, error) {
	if in == nil || len(in.AllowedCIDRs) == 0 {
		return nil, nil
	}
	cidrs, err := core.ParseCIDRs(in.AllowedCIDRs)
	if err != nil {
		return nil, core.NewError(core.BadRequest, "ip_restriction.allowed_cidrs: "+err.Error())
	}
	return cidrs, nil
}

func getKey(w http.ResponseWriter, r *http.Request, n Network, kind core.Kind, keyID string) error {
	key, err := n.Keys.Get(r.Context(), kind, keyID)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, issuedKey(&key, time.Now()))
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

// issuedKey is the record of a key as the API shows it.
func issuedKey(k *core.Key, now time.Time) client.IssuedAPIKey {
	out := client.IssuedAPIKey{
		KeyID:      k.ID,
		Name:       k.Name,
		ActorID:    k.ActorID,
		Scopes:     k.Scopes,
		Metadata:   k.Metadata,
		Visibility: visibilityName(k.Visibility),
		Status:     statusName(k.StatusAt(now)),
		CreateTime: k.CreateTime.UTC(),
		UpdateTime: k.UpdateTime.UTC(),
		ExpireTime: k.ExpireTime.UTC(),
	}
	out.IPRestriction = restriction(k.AllowedCIDRs)
	if k.Status == core.StatusRevoked {
		out.RevocationReason = reasonName(k.RevocationReason)
		out.RevocationDescription = k.RevocationDescription
	}
	return out
}

// restriction is an address list as the API shows it; nil for none.
func restriction(list []netip.Prefix) *client.IPRestriction {
	if len(list) == 0 {
		return nil
	}
	out := &client.IPRestriction{AllowedCIDRs: make([]string, len(list))}
	for i, cidr := range list {
		out.AllowedCIDRs[i] = cidr.String()
	}
	return out
}
