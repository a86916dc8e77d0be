package adminapi

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/ratelimit"
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

		SuspendTime:      k.SuspendTime.UTC(),
		PredecessorKeyID: k.PredecessorID,
		SuccessorKeyID:   k.SuccessorID,
	}
	out.LastUsedTime = k.LastUsedTime.UTC()
	out.IPRestriction = restriction(k.AllowedCIDRs)
	out.RateLimitPolicy = limitPolicy(k.RateLimit)
	if k.Status == core.StatusRevoked && !k.IsSuspended() {
		out.RevocationReason = ReasonName(k.RevocationReason)
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

// parseTTL reads the lifetime of a key. Empty is the same as absent.
func parseTTL(s string) (*time.Duration, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // no lifetime was asked for
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

func parseVisibility(v client.KeyVisibility) (core.Visibility, error) {
	switch v {
	case "", client.KeyVisibilityUnspecified:
		return core.VisibilityUnknown, nil
	case client.KeyVisibilitySecret:
		return core.VisibilitySecret, nil
	case client.KeyVisibilityPublic:
		return core.VisibilityPublic, nil
	default:
		return core.VisibilityUnknown, core.NewError(core.BadRequest,
			"visibility: must be KEY_VISIBILITY_SECRET or KEY_VISIBILITY_PUBLIC")
	}
}

func visibilityName(v core.Visibility) client.KeyVisibility {
	switch v {
	case core.VisibilitySecret:
		return client.KeyVisibilitySecret
	case core.VisibilityPublic:
		return client.KeyVisibilityPublic
	default:
		return client.KeyVisibilityUnspecified
	}
}

func statusName(s core.Status) client.KeyStatus {
	switch s {
	case core.StatusActive:
		return client.KeyStatusActive
	case core.StatusRevoked:
		return client.KeyStatusRevoked
	case core.StatusExpired:
		return client.KeyStatusExpired
	default:
		return client.KeyStatusUnspecified
	}
}

// reasonNames are the reasons for a revocation, by their value in the domain.
var reasonNames = [...]client.RevocationReason{
	core.ReasonUnspecified:        client.RevocationReasonUnspecified,
	core.ReasonKeyCompromise:      client.RevocationReasonKeyCompromise,
	core.ReasonAffiliationChanged: client.RevocationReasonAffiliationChanged,
	core.ReasonSuperseded:         client.RevocationReasonSuperseded,
	core.ReasonPrivilegeWithdrawn: client.RevocationReasonPrivilegeWithdrawn,
}

// ParseReason reads a reason for a revocation. Empty is the same as absent: unspecified.
func ParseReason(r client.RevocationReason) (core.RevocationReason, error) {
	if r == "" {
		return core.ReasonUnspecified, nil
	}
	for i, name := range reasonNames {
		if r == name {
			return core.RevocationReason(i), nil
		}
	}
	return core.ReasonUnspecified, core.NewError(core.BadRequest,
		"reason: must be a REVOCATION_REASON_ of KEY_COMPROMISE, AFFILIATION_CHANGED, SUPERSEDED, PRIVILEGE_WITHDRAWN "+
			"or UNSPECIFIED")
}

// ReasonName is the name of a reason on the wire.
func ReasonName(r core.RevocationReason) client.RevocationReason {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return client.RevocationReasonUnspecified
}

// failure is what a code of the domain reads like to a caller.
type failure struct {
	code    client.VerificationErrorCode
	message string
}

// failures are the answers to credentials that are not valid. The message depends on the code alone, so that it tells
// no more than the code.
var failures = map[core.Code]failure{
	core.CodeNotFound:         {client.VerificationErrorNotFound, "no such key"},
	core.CodeRevoked:          {client.VerificationErrorRevoked, "the key is revoked"},
	core.CodeExpired:          {client.VerificationErrorExpired, "the key has expired"},
	core.CodeInvalidFormat:    {client.VerificationErrorInvalidFormat, "the credential cannot be a key or a token"},
	core.CodeSignatureInvalid: {client.VerificationErrorSignatureInvalid, "the token is not valid here"},
	core.CodeInternal:         {client.VerificationErrorInternal, "the credential could not be judged; try again"},
	core.CodeIPNotAllowed:     {client.VerificationErrorIPNotAllowed, "the key may not be used from this address"},
	core.CodeRateLimited:      {client.VerificationErrorRateLimited, "the key is used too often at the moment"},
}

func failureOf(code core.Code) failure {
	if f, ok := failures[code]; ok {
		return f
	}
	return failures[core.CodeInternal]
}

// parseAlgorithm reads the kind of a token. None is a JWT.
func parseAlgorithm(a client.TokenAlgorithm) (engine.TokenAlgorithm, error) {
	switch a {
	case "", client.TokenAlgorithmUnspecified, client.TokenAlgorithmJWT:
		return engine.AlgorithmJWT, nil
	case client.TokenAlgorithmMacaroon:
		return engine.AlgorithmMacaroon, nil
	default:
		return engine.AlgorithmJWT, core.NewError(core.BadRequest,
			"algorithm: must be TOKEN_ALGORITHM_JWT or TOKEN_ALGORITHM_MACAROON")
	}
}

// limitName is the name of the one limit that a key may have.
const limitName = `"default"`

// SetRateLimit tells of a key's limit in headers (draft-ietf-httpapi-ratelimit-headers): the policy, how many uses are
// left and, when there is none, how long to wait. A nil limit is one that nobody counts.
func SetRateLimit(h http.Header, p core.RateLimitPolicy, limit *ratelimit.Result) {
	h.Set("RateLimit-Policy", limitName+";q="+integer(p.Quota)+";w="+integer(int64(p.Window/time.Second)))
	if limit == nil {
		return
	}
	h.Set("RateLimit", limitName+";r="+integer(limit.Remaining))
	if !limit.Allowed {
		h.Set("Retry-After", retryAfter(limit.RetryAfter))
	}
}

// integer writes a number as a structured field, where it has at most 15 digits (RFC 9651, section 3.3.1).
func integer(n int64) string { return strconv.FormatInt(min(n, 999_999_999_999_999), 10) }
