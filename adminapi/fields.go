package adminapi

import (
	"net/netip"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

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

// parsePolicy reads a rate limit. None, and one with a quota of 0, is no limit: what changes a key clears it so.
func parsePolicy(in *client.RateLimitPolicy) (p core.RateLimitPolicy, err error) {
	if in == nil {
		return p, nil
	}
	p.Quota, p.Unit = int64(in.Quota), in.Unit
	if in.Window != "" {
		if p.Window, err = core.ParseDuration(in.Window); err != nil {
			return core.RateLimitPolicy{}, core.NewError(core.BadRequest, "rate_limit_policy.window: "+err.Error())
		}
	}
	return p, nil
}
