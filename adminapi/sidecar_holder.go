package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// selfRevoke has the upstream revoke the key behind a credential, and forgets the key. A caller that goes away does not
// stop it.
func (s *sidecar) selfRevoke(ctx context.Context, n Network, cred string, reason core.RevocationReason) error {
	if err := core.CheckSelfRevoke(cred, reason); err != nil {
		return err
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), holderTimeout)
	defer cancel()
	position, err := s.upstream.SelfRevoke(call, cred, reasonName(reason))
	if keyID, _ := s.upstream.Identify(n.ID, cred); keyID != "" {
		s.upstream.Forget(n.ID, keyID, position)
	} else {
		s.forgetUnidentified(call, n, cred, position)
	}
	return selfRevokeError(err)
}

// forgetUnidentified forgets the key of a credential that does not tell its key id: it asks for it, past the cache.
func (s *sidecar) forgetUnidentified(ctx context.Context, n Network, cred string, position uint64) {
	for _, mode := range []verify.Mode{verify.Use, verify.NoCache} { // what is remembered, and what is so now
		if result, err := n.Verifier.Verify(ctx, n.ID, cred, mode); err == nil && result.Verdict.KeyID != "" {
			s.upstream.Forget(n.ID, result.Verdict.KeyID, position)
			return
		}
	}
}

// holderFailures are the refusals of a self-revocation that are about the credential, with what the holder is told. The
// upstream's own text is not passed on: it may repeat what was sent.
var holderFailures = map[core.Reason]string{
	core.BadRequest:               "the upstream does not take this request",
	core.InvalidKeyFormat:         "the credential cannot be a key",
	core.UnknownCredential:        "the credential cannot be a key",
	core.DerivedTokenNotRevocable: "a derived token cannot be revoked; revoke the key that it was derived from",
	core.KeyExpired:               "the key has expired",
	core.KeyRevoked:               "the key is revoked",
	core.KeyNotFound:              "no such key",
	core.FailedPrecondition:       "the key is revoked",
}

// selfRevokeError is what a holder is told. A refusal that is neither about the credential nor a throttle is the
// upstream's trouble, or ours with it: it is no failed attempt.
func selfRevokeError(err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*client.Error](err); ok {
		reason := core.Reason(refused.Reason)
		if message, known := holderFailures[reason]; known && StatusOf(reason) == refused.HTTP {
			return core.NewError(reason, message)
		}
		if refused.HTTP == http.StatusTooManyRequests {
			// Not given back: or whoever makes the upstream throttle this sidecar would never be throttled here.
			e := core.NewError(core.TooManyRequests, "the upstream takes no more self-revocations at the moment")
			e.RetryAfter = refused.RetryAfter
			return e
		}
		e := core.NewError(core.Unavailable, fmt.Sprintf("the upstream answered %d to a self-revocation", refused.HTTP))
		e.RetryAfter = refused.RetryAfter
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return core.WrapError(core.Unavailable, "the upstream did not answer in time", err)
	}
	return unavailable(err)
}
