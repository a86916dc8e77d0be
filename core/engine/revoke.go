package engine

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/feed"
)

// RevokeRequest asks to revoke a key.
type RevokeRequest struct {
	Reason      core.RevocationReason
	Description string // only with ReasonPrivilegeWithdrawn
}

// Revoke revokes a key of a kind. When it returns nil, no verification on this node that begins later admits the key.
// A key that is revoked already is [core.FailedPrecondition].
func (e *Engine) Revoke(ctx context.Context, kind core.Kind, keyID string, r RevokeRequest) (core.Key, error) {
	revocation, err := r.revocation()
	if err != nil {
		return core.Key{}, err
	}
	return e.store.Revoke(ctx, e.network, kind, keyID, revocation)
}

// RevokeLineage revokes a key of a kind with all its predecessors and successors, in one transaction, and returns those
// that were not revoked already. When it returns nil, no verification on this node that begins later admits one of
// them. If all of them are revoked already, it is [core.FailedPrecondition]. An imported key has no lineage but itself.
func (e *Engine) RevokeLineage(
	ctx context.Context, kind core.Kind, keyID string, r RevokeRequest,
) ([]core.Key, error) {
	revocation, err := r.revocation()
	if err != nil {
		return nil, err
	}
	return e.store.RevokeLineage(ctx, e.network, kind, keyID, revocation)
}

// revocation checks the request.
func (r *RevokeRequest) revocation() (core.Revocation, error) {
	switch {
	case r.Reason > core.ReasonPrivilegeWithdrawn:
		return core.Revocation{}, badRequest("reason: unknown value")
	case r.Description != "" && r.Reason != core.ReasonPrivilegeWithdrawn:
		return core.Revocation{}, badRequest(
			"description: is only taken with the reason REVOCATION_REASON_PRIVILEGE_WITHDRAWN")
	case len(r.Description) > core.MaxDescriptionLength:
		return core.Revocation{}, badRequest("description: must not be longer than %d bytes",
			core.MaxDescriptionLength)
	case !utf8.ValidString(r.Description) || strings.IndexByte(r.Description, 0) >= 0:
		return core.Revocation{}, badRequest("description: must be UTF-8 text without NUL")
	}
	return core.Revocation{Reason: r.Reason, Description: r.Description, Time: now()}, nil
}

// SelfRevoke revokes the key behind a credential, and returns it: holding the credential is the proof. One that names
// no key reads [core.KeyNotFound], whether its checksum is right or not. A suspended key is revoked for good: who
// reports that a key has leaked is not refused because somebody else has suspended it.
func (e *Engine) SelfRevoke(ctx context.Context, cred string, reason core.RevocationReason) (core.Key, error) {
	if err := CheckSelfRevoke(cred, reason); err != nil {
		return core.Key{}, err
	}
	p := e.format.Parse(cred)
	kind := core.Issued
	switch p.Kind {
	case credential.JWT, credential.Macaroon:
		return core.Key{}, core.NewError(core.DerivedTokenNotRevocable,
			"a derived token cannot be revoked; revoke the key that it was derived from")
	case credential.Issued:
		if !p.Genuine {
			return core.Key{}, errKeyNotFound()
		}
	case credential.Imported:
		kind = core.Imported
	}
	key, err := e.Get(ctx, kind, p.KeyID)
	if err != nil {
		return core.Key{}, err
	}
	moment := now()
	if key.Status == core.StatusRevoked && !key.IsSuspended() {
		return core.Key{}, errSelfRevoked()
	}
	if key.StatusAt(moment) == core.StatusExpired {
		return core.Key{}, core.NewError(core.KeyExpired, "the key has expired")
	}
	by := core.CallerOf(ctx)
	by.Kind = feed.CallerHolder
	key, err = e.store.Revoke(core.WithCaller(ctx, by), e.network, kind, p.KeyID,
		core.Revocation{Reason: reason, Time: moment})
	if core.ReasonOf(err) == core.FailedPrecondition && err != nil {
		return core.Key{}, errSelfRevoked() // somebody else was faster
	}
	return key, err
}

// CheckSelfRevoke refuses what no holder may ask for: a reason that only operators give, and what cannot be a
// credential.
func CheckSelfRevoke(cred string, reason core.RevocationReason) error {
	if reason >= core.ReasonPrivilegeWithdrawn {
		return badRequest("reason: a holder may give unspecified, key compromise, affiliation changed or superseded")
	}
	return checkCredential(cred)
}

// checkCredential refuses what cannot be a credential.
func checkCredential(cred string) error {
	if cred == "" {
		return core.NewError(core.CredentialRequired, "credential: is required")
	}
	if err := credential.Check(cred); err != nil {
		return core.NewError(core.InvalidKeyFormat, err.Error())
	}
	return nil
}

func errSelfRevoked() error { return core.NewError(core.KeyRevoked, "the key is revoked") }
