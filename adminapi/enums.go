package adminapi

import (
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

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

// parseReason reads a reason for a revocation. Empty is the same as absent: unspecified.
func parseReason(r client.RevocationReason) (core.RevocationReason, error) {
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

func reasonName(r core.RevocationReason) client.RevocationReason {
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
func parseAlgorithm(a client.TokenAlgorithm) (core.TokenAlgorithm, error) {
	switch a {
	case "", client.TokenAlgorithmUnspecified, client.TokenAlgorithmJWT:
		return core.AlgorithmJWT, nil
	case client.TokenAlgorithmMacaroon:
		return core.AlgorithmMacaroon, nil
	default:
		return core.AlgorithmJWT, core.NewError(core.BadRequest,
			"algorithm: must be TOKEN_ALGORITHM_JWT or TOKEN_ALGORITHM_MACAROON")
	}
}
