package engine_test

import (
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

func TestRevoke_FollowsTheContract(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key, _ := issue(t, e, nil)
	revoke := func(kind core.Kind, keyID string, r engine.RevokeRequest) error {
		_, err := e.Revoke(t.Context(), kind, keyID, r)
		return err
	}
	wantReason(t, revoke(core.Issued, key.ID, engine.RevokeRequest{Description: "why"}), core.BadRequest)
	wantReason(t, revoke(core.Issued, key.ID, engine.RevokeRequest{Reason: 99}), core.BadRequest)
	wantReason(t, revoke(core.Imported, key.ID, engine.RevokeRequest{}), core.KeyNotFound)
	wantReason(t, revoke(core.Issued, uuid.NewString(), engine.RevokeRequest{}), core.KeyNotFound)
	withdrawn := engine.RevokeRequest{Reason: core.ReasonPrivilegeWithdrawn, Description: "left the company"}
	if err := revoke(core.AnyKind, key.ID, withdrawn); err != nil {
		t.Error(err)
	}
	wantReason(t, revoke(core.Issued, key.ID, engine.RevokeRequest{}), core.FailedPrecondition)
	got, err := e.Get(t.Context(), core.Issued, key.ID)
	if err != nil || got.Status != core.StatusRevoked || got.RevocationReason != core.ReasonPrivilegeWithdrawn ||
		got.RevocationDescription != "left the company" {
		t.Errorf("the revoked key reads %+v, %v", got, err)
	}
}

func TestSelfRevoke_HoldingTheCredentialIsTheProof(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key, secret := issue(t, e, nil)
	self := func(cred string, reason core.RevocationReason) error {
		_, err := e.SelfRevoke(t.Context(), cred, reason)
		return err
	}
	wantReason(t, self("", 0), core.CredentialRequired)
	wantReason(t, self("a\x00", 0), core.InvalidKeyFormat)
	wantReason(t, self("eyJhbGciOiJub25lIn0.e30.x", 0), core.DerivedTokenNotRevocable)
	wantReason(t, self("mc_v1_AgEJ", 0), core.DerivedTokenNotRevocable)
	wantReason(t, self(secret, core.ReasonPrivilegeWithdrawn), core.BadRequest)
	for _, unknown := range []string{
		key.ID, mintFor(t, key.ID, secretB), mintFor(t, uuid.NewString(), secretA), "nonsense",
	} {
		wantReason(t, self(unknown, 0), core.KeyNotFound)
	}
	if err := self(secret, core.ReasonKeyCompromise); err != nil {
		t.Fatal(err)
	}
	wantReason(t, self(secret, 0), core.KeyRevoked)
}

func TestSelfRevoke_OfTwoAtOnceOneWinsAndTheOtherReadsRevoked(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	_, secret := issue(t, e, nil)
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = e.SelfRevoke(t.Context(), secret, 0) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			wantReason(t, err, core.KeyRevoked)
		}
	}
	if won != 1 {
		t.Errorf("%d revocations succeeded, want 1", won)
	}
}
