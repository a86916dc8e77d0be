package adminapi

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// writeRecord answers with the record of a key.
func writeRecord(w http.ResponseWriter, k *core.Key) {
	out := record(k, time.Now())
	writeJSON(w, http.StatusOK, &out)
}

// record is the record of a key as the API shows it.
func record(k *core.Key, now time.Time) client.Key {
	out := client.Key{
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
	out.RateLimitPolicy = limitPolicy(k.RateLimit)
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

// limitPolicy is a rate limit as the API shows it; nil for none.
func limitPolicy(p core.RateLimitPolicy) *client.RateLimitPolicy {
	if p.IsZero() {
		return nil
	}
	return &client.RateLimitPolicy{Quota: client.Int64(p.Quota), Unit: p.Unit, Window: core.FormatSeconds(p.Window)}
}
