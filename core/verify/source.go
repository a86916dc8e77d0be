package verify

import (
	"context"
	"errors"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// ErrMisconfigured marks an error of a [Source] that says: it is we who are refused, not the credential (an upstream's
// 401, 403 or 404). It is wrapped into the error. Nothing stale is served for it, because it will not heal by itself,
// nor for a failure that follows: what was known of the credential is forgotten.
var ErrMisconfigured = errors.New("the source refuses this node")

// ErrRefused marks an error of a [Source] that says: the source does not accept the credential, in words from which no
// verdict can be made. It is wrapped into the error. What was known of the credential is forgotten, as for
// [ErrMisconfigured].
var ErrRefused = errors.New("the source does not accept the credential")

// ErrThrottled marks an error of a [Source] that says: it is asked too often. It is wrapped into the error, whose
// RetryAfter, if there is one, says for how long it wants no more calls. Known keys go on meanwhile as far as it
// answers those.
var ErrThrottled = errors.New("the source is asked too often")

// denies tells whether an error forbids what was known before.
func denies(err error) bool { return errors.Is(err, ErrMisconfigured) || errors.Is(err, ErrRefused) }

// Source is where verdicts come from: the keys of this node, or an upstream. Its methods may be called from several
// goroutines, return when their context ends, and never put a credential into an error.
type Source interface {
	// Identify says without I/O what a credential would be: the id of the key it belongs to, or a final verdict (bad
	// form, wrong checksum, foreign network) that needs no look-up and is not remembered. It is called on misses only.
	//
	// A key id that is not empty is a promise: the verdict of a look-up names the same key, or none. The verifier
	// refuses any other answer, so that a reply out of order cannot lend one holder the identity of another. A source
	// that cannot be sure returns an empty id.
	Identify(network core.NetworkID, credential string) (keyID string, final *core.Verdict)

	// Lookup reads the state of a credential's key. An error means "cannot say"; [ErrMisconfigured] marks one that
	// lies with us, [ErrRefused] one that says no and not why. A verdict that says "not valid" names, in KeyID, the
	// key that the credential would have, so that the creation of that key ends it. Verdict.Position, when it is not
	// zero, lowers the position that the verifier noted before the call.
	Lookup(ctx context.Context, network core.NetworkID, credential string) (*core.Verdict, error)

	// LookupMany answers several credentials of one network at once. There are as many results as credentials, in
	// their order; an item that fails, fails alone. An error is one for every item.
	LookupMany(ctx context.Context, network core.NetworkID, credentials []string) ([]LookupResult, error)

	// Claimed is what a credential says of itself. What could be mistaken for each other never shares a call.
	// It is called on misses only, without I/O.
	Claimed(network core.NetworkID, credential string) Claim

	// Admit returns nil when a call could be made now, or else an error that says why none would be. It makes none, and
	// is called on misses only.
	Admit() error

	// Positions is the table that changes of the keys are applied to. It is the same table each time.
	Positions() *feed.Positions
}

// LookupResult is the answer to one credential of a batch: a verdict or an error.
type LookupResult = core.LookupResult
