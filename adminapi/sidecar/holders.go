package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
)

// holders has what holders ask for done by the upstream, for one network.
type holders struct {
	*sidecar
	network  core.NetworkID
	verifier adminapi.Verifier
}

// KeySet is the upstream's.
func (s *holders) KeySet(ctx context.Context) (*client.JWKS, error) {
	set, err := s.keySet(s.network).get(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	return set, nil
}

// SelfRevoke has the upstream revoke the key behind a credential, and forgets the key. A caller that goes away does not
// stop it.
func (s *holders) SelfRevoke(
	ctx context.Context, cred string, reason core.RevocationReason,
) (revoked core.Key, err error) {
	if err := engine.CheckSelfRevoke(cred, reason); err != nil {
		return revoked, err
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), holderTimeout)
	defer cancel()
	position, err := s.upstream.SelfRevoke(call, s.network, cred, adminapi.ReasonName(reason))
	if q, _ := s.upstream.Prepare(s.network, cred); q.KeyID != "" {
		s.upstream.Forget(s.network, q.KeyID, position)
		revoked.ID = q.KeyID
	} else {
		revoked = s.forgetUnidentified(call, cred, position)
	}
	return revoked, selfRevokeError(err)
}

// forgetUnidentified forgets the key of a credential that does not show its key id, and returns what it is known by: it
// asks for it, past the cache.
func (s *holders) forgetUnidentified(ctx context.Context, cred string, position uint64) (known core.Key) {
	for _, mode := range []verify.Mode{verify.Use, verify.NoCache} { // what is cached, and what is so now
		if result, err := s.verifier.Verify(ctx, s.network, cred, mode); err == nil && result.Verdict.KeyID != "" {
			s.upstream.Forget(s.network, result.Verdict.KeyID, position)
			return core.Key{ID: result.Verdict.KeyID, ActorID: result.Verdict.ActorID}
		}
	}
	return known
}

// holderFailures are the refusals of a self-revocation that are about the credential, with the holder's answer. The
// upstream's own text is not passed on: it may repeat what was sent.
var holderFailures = map[core.Reason]string{
	core.BadRequest:               "the upstream does not accept this request; check its credential and reason",
	core.InvalidKeyFormat:         "the credential cannot be a key; send the whole key",
	core.UnknownCredential:        "the credential cannot be a key; send the whole key",
	core.DerivedTokenNotRevocable: "a derived token cannot be revoked; revoke the key that it was derived from",
	core.KeyExpired:               "the key has expired",
	core.KeyRevoked:               "the key is revoked",
	core.KeyNotFound:              "no such key",
	core.FailedPrecondition:       "the key is revoked",
}

// selfRevokeError is a holder's answer. A refusal that is neither about the credential nor a throttle is the
// upstream's trouble, or ours with it: it is no failed attempt.
func selfRevokeError(err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*client.Error](err); ok {
		reason := core.Reason(refused.Reason)
		if message, known := holderFailures[reason]; known && adminapi.StatusOf(reason) == refused.HTTP {
			return core.NewError(reason, message)
		}
		if refused.HTTP == http.StatusTooManyRequests {
			// Not given back: or whoever makes the upstream throttle this sidecar would never be throttled here.
			e := core.NewError(core.TooManyRequests, "the upstream accepts no more self-revocations at the "+
				"moment; try again later")
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
