package verify

import (
	"context"
	"errors"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// ErrMisconfigured marks an error of a [Source] that says: it is we who are refused, not the credential (an upstream's
// 401, 403 or 404). It is wrapped into the error. Nothing stale is served for it, because it does not end without an
// operator, nor for a failure that follows: what was known of the credential is forgotten.
var ErrMisconfigured = errors.New("the source refuses this node")

// ErrRefused marks an error of a [Source] that says: the source does not accept the credential, in words from which no
// verdict can be made. It is wrapped into the error. What was known of the credential is forgotten, as for
// [ErrMisconfigured].
var ErrRefused = errors.New("the source does not accept the credential")

// ErrThrottled marks an error of a [Source] that says: it is asked too often. It is wrapped into the error, whose
// RetryAfter, if there is one, says for how long it takes no more calls. Known keys go on meanwhile as far as it
// answers those.
var ErrThrottled = errors.New("the source is asked too often")

// denies reports whether an error forbids what was known before.
func denies(err error) bool { return errors.Is(err, ErrMisconfigured) || errors.Is(err, ErrRefused) }

// Source is where verdicts come from: the keys of this node, or an upstream. Its methods may be called from several
// goroutines, return when their context ends, and never put a credential into an error.
type Source interface {
	// Prepare reads a credential without I/O. It returns the query by which the credential is looked up, or a final
	// verdict (bad form, wrong checksum, foreign network) that needs no look-up and is not remembered. It is called on
	// misses only, once for each.
	//
	// A key id in the query that is not empty is a promise: the verdict of a look-up names the same key, or none. The
	// verifier refuses any other answer, so that a reply out of order cannot lend one holder the identity of another.
	// A source that cannot be sure leaves it empty. What could be mistaken for each other, by the claims, never shares
	// a call.
	Prepare(network core.NetworkID, credential string) (q Query, final *core.Verdict)

	// Lookup reads the state of the keys of queries that Prepare has made, of one network, as many as Limits allow.
	// There are as many results as queries, in their order; an item that fails, fails alone. An error is one for every
	// item and means "cannot say"; [ErrMisconfigured] marks one that lies with us, [ErrRefused] one that says no and
	// not why. A verdict that says "not valid" names, in KeyID, the key that the credential would have, so that the
	// creation of that key ends it. Verdict.Position, when it is not zero, lowers the position that the verifier noted
	// before the call.
	Lookup(ctx context.Context, queries []Query) ([]LookupResult, error)

	// Limits are the bounds of its calls. They are the same each time.
	Limits() Limits

	// Admit returns nil when a call could be made now, or else an error that says why none would be. It makes none, and
	// is called on misses only.
	Admit() error

	// Positions is the table that changes of the keys are applied to. It is the same table each time.
	Positions() *feed.Positions
}

// What a source takes and gives.
type (
	// Query is one credential, as the source has read it.
	Query = core.Query

	// Limits bound the calls of a source.
	Limits = core.LookupLimits

	// LookupResult is the answer to one query: a verdict or an error.
	LookupResult = core.LookupResult
)
