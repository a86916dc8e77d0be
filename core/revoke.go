package core

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/talos-edge/talos-edge/core/credential"
)

// MaxDescriptionLength is the length of the longest description of a revocation, in bytes.
const MaxDescriptionLength = 1024

// Who makes a change, as the feed names it.
const (
	ByOperator = "operator"
	ByHolder   = "holder"
)

// RevokeRequest asks to revoke a key.
type RevokeRequest struct {
	Reason      RevocationReason
	Description string // only with ReasonPrivilegeWithdrawn
}

// Revoke revokes a key of a kind. When it returns nil, no verification on this node that begins later admits the key.
// A key that is revoked already is [FailedPrecondition].
func (e *Engine) Revoke(ctx context.Context, kind Kind, keyID string, r RevokeRequest) (Key, error) {
	switch {
	case r.Reason > ReasonPrivilegeWithdrawn:
		return Key{}, badRequest("reason: unknown value")
	case r.Description != "" && r.Reason != ReasonPrivilegeWithdrawn:
		return Key{}, badRequest("description: is only taken with the reason REVOCATION_REASON_PRIVILEGE_WITHDRAWN")
	case len(r.Description) > MaxDescriptionLength:
		return Key{}, badRequest("description: must not be longer than %d bytes", MaxDescriptionLength)
	case !utf8.ValidString(r.Description) || strings.IndexByte(r.Description, 0) >= 0:
		return Key{}, badRequest("description: must be UTF-8 text without NUL")
	}
	return e.store.Revoke(ctx, e.network, kind, keyID, Revocation{
		Reason: r.Reason, Description: r.Description, By: ByOperator, Time: now(),
	})
}

// SelfRevoke revokes the key behind a credential: holding it is the proof. A credential that names no key reads
// [KeyNotFound], whether its checksum is right or not.
func (e *Engine) SelfRevoke(ctx context.Context, cred string, reason RevocationReason) error {
	if err := CheckSelfRevoke(cred, reason); err != nil {
		return err
	}
	p := e.format.Parse(cred)
	kind := Issued
	switch p.Kind {
	case credential.JWT, credential.Macaroon:
		return NewError(DerivedTokenNotRevocable,
			"a derived token cannot be revoked; revoke the key that it was derived from")
	case credential.Issued:
		if !p.Genuine {
			return errKeyNotFound()
		}
	case credential.Imported:
		kind = Imported
	}
	key, err := e.Get(ctx, kind, p.KeyID)
	if err != nil {
		return err
	}
	moment := now()
	if key.Status == StatusRevoked {
		return errSelfRevoked()
	}
	if key.StatusAt(moment) == StatusExpired {
		return NewError(KeyExpired, "the key has expired")
	}
	_, err = e.store.Revoke(ctx, e.network, kind, p.KeyID, Revocation{Reason: reason, By: ByHolder, Time: moment})
	if ReasonOf(err) == FailedPrecondition && err != nil {
		return errSelfRevoked() // somebody else was faster
	}
	return err
}

// CheckSelfRevoke refuses what no holder may ask for: a reason that only operators give, and what cannot be a
// credential.
func CheckSelfRevoke(cred string, reason RevocationReason) error {
	if reason >= ReasonPrivilegeWithdrawn {
		return badRequest("reason: a holder may give unspecified, key compromise, affiliation changed or superseded")
	}
	return checkCredential(cred)
}

// checkCredential refuses what cannot be a credential.
func checkCredential(cred string) error {
	if cred == "" {
		return NewError(CredentialRequired, "credential: is required")
	}
	if err := credential.Check(cred); err != nil {
		return NewError(InvalidKeyFormat, err.Error())
	}
	return nil
}

func errSelfRevoked() error { return NewError(KeyRevoked, "the key is revoked") }
