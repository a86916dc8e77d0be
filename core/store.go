package core

import (
	"context"
	"time"

	"github.com/talos-edge/talos-edge/core/feed"
)

// MaxEvents is how many events [Store.Events] returns at most.
const MaxEvents = 1000

// Store holds keys. It is what package engine needs of a database; package storage implements it, and package
// storage/storagetest says in tests what an implementation must do.
//
// Methods may be called from several goroutines. A method that changes something
//
//   - writes the change and its [feed.Event], of the context's caller ([WithCaller]), in one transaction, and answers
//     after the commit is durable;
//   - applies the event to its [feed.Positions] before it answers;
//   - has changed nothing when it returns an error, but for [DeadlineExceeded] and [Unavailable] after a loss of the
//     connection or of the database's file, when the outcome is not known;
//   - is not undone by the caller's cancellation once it has begun: a caller that goes away while its change waits
//     takes that change out of the queue, and harms no other.
//
// Errors are an [*Error]: [KeyNotFound], [Conflict], [KeyQuotaExceeded] and [FailedPrecondition] as the methods say;
// [Unavailable] when the database does not answer, is full, locked, read-only or closed; [DeadlineExceeded] when ctx
// ended first; [Internal] for anything else. None holds key material.
type Store interface {
	// Create adds a key. When the network has a key of the same kind with the same non-empty RequestID, it changes
	// nothing and returns that key and false. A key id that is taken is [Conflict]. No quota counts.
	Create(ctx context.Context, key Key) (stored Key, created bool, err error)

	// CreateMany adds keys of one network in one transaction, in their order, and returns what came of each: a key
	// that Create would refuse fails alone, and so does one that has the id of an earlier one. A quota above 0 is how
	// many keys of the network, of both kinds, may be active and unexpired (at the first one's CreateTime); what would
	// be more is [KeyQuotaExceeded], also when others create keys at the same time. The error is of the call as a
	// whole: nothing was created.
	CreateMany(ctx context.Context, network NetworkID, keys []Key, quota int64) ([]CreateResult, error)

	// Get returns a key, or [KeyNotFound].
	Get(ctx context.Context, network NetworkID, keyID string) (Key, error)

	// GetMany returns those of the named keys that exist, by id, with one query.
	GetMany(ctx context.Context, network NetworkID, keyIDs []string) (map[string]Key, error)

	// List returns a page of keys. A key that is there from the first page to the last is on exactly one of them, one
	// that comes or goes meanwhile on at most one. A page costs the same wherever it is in the list.
	List(ctx context.Context, q ListQuery) (KeyPage, error)

	// Prefixes returns how many issued keys of a network are not revoked, by [Key.Prefix], in the prefixes' order. A
	// suspended key is among them: it may be resumed. A prefix without such a key is left out. It costs the same
	// however many keys there are.
	Prefixes(ctx context.Context, network NetworkID) ([]PrefixCount, error)

	// Update changes fields of an active key, expired or not, and returns it. A key of another kind than asked for
	// (unless [AnyKind]) is [KeyNotFound]; [Update.Of] says which keys are refused. An update that changes nothing
	// returns the key as it is, and is no change.
	Update(ctx context.Context, network NetworkID, kind Kind, keyID string, u Update) (Key, error)

	// Rotate creates the key that takes the place of an issued one, and revokes that one as superseded or, with a grace
	// period, makes it expire, in one transaction. A key that is not there or was imported is [KeyNotFound];
	// [Rotation.Of] says which are refused. Without a grace period no quota counts: there are as many active keys as
	// before. With one there is one key more, and if the quota, as of CreateMany, has no room for it, it is
	// [KeyQuotaExceeded].
	Rotate(ctx context.Context, network NetworkID, keyID string, r Rotation) (fresh, old Key, err error)

	// Delete removes an imported key, whatever its state, as if it had never been there: it can be imported again. A
	// key that is not there or was issued is [KeyNotFound].
	Delete(ctx context.Context, network NetworkID, keyID string, d Deletion) error

	// Revoke makes an active or suspended key, expired or not, a revoked one and returns it. A key of another kind than
	// asked for (unless [AnyKind]) is [KeyNotFound]; one that is revoked already is [FailedPrecondition].
	Revoke(ctx context.Context, network NetworkID, kind Kind, keyID string, r Revocation) (Key, error)

	// RecordUse writes the last uses of keys. It is no change: there is no event and no position, and no key is looked
	// up again. A key that is not there, and one whose stored use is no more than [UseInterval] earlier or is later, is
	// left as it is. It works in steps, between which changes are made; after an error, all of it can be repeated.
	RecordUse(ctx context.Context, uses []Use) error

	// RevokeLineage revokes a key and all its predecessors and successors, as Revoke does, in one transaction, and
	// returns those that were not revoked before, each of which has an event. If there is none, it is
	// [FailedPrecondition].
	RevokeLineage(ctx context.Context, network NetworkID, kind Kind, keyID string, r Revocation) ([]Key, error)

	// Suspend makes an active key, expired or not, one that is refused until it is resumed, and returns it. It counts
	// for no quota. A key of another kind than asked for (unless [AnyKind]) is [KeyNotFound]; [Suspension.Of] says
	// which are refused.
	Suspend(ctx context.Context, network NetworkID, kind Kind, keyID string, s Suspension) (Key, error)

	// Resume makes a suspended key what it was before, and returns it. A key of another kind than asked for (unless
	// [AnyKind]) is [KeyNotFound]; [Resumption.Of] says which are refused. One that has not expired and for which the
	// quota, as of CreateMany, has no room is [KeyQuotaExceeded].
	Resume(ctx context.Context, network NetworkID, kind Kind, keyID string, r Resumption) (Key, error)

	// ClaimSecret compares a network's HMAC secrets with the ones that its keys were made with. checks are the check
	// values of the current secret and then of the retired ones. With none stored yet, the first is stored. A stored
	// one that is among checks is replaced by the first; one that is not is [FailedPrecondition]: with these secrets
	// no stored key would verify.
	ClaimSecret(ctx context.Context, network NetworkID, checks []string) error

	// Events returns the changes of all networks whose position is higher than after: in the order of their positions,
	// without a gap (but for that before a [feed.EventRestored]), at most limit, 1 to [MaxEvents]. They are committed,
	// and every change that was acknowledged before the call is among them as far as limit reaches. Whoever follows the
	// feed starts over when after is lower than the page's Begin or higher than its Last.
	Events(ctx context.Context, after uint64, limit int) (feed.Page, error)

	// PruneEvents removes the oldest events: those from before a time, and those beyond a number. The newest one stays.
	// It works in steps, between which changes are made, and returns how many it has removed, also with an error.
	PruneEvents(ctx context.Context, before time.Time, keep int) (removed int, err error)

	// SaveNode records how far a process on this database has come with the feed, in place of what it recorded before.
	// RemoveNode removes that. Neither is a change.
	SaveNode(ctx context.Context, n NodeState) error
	RemoveNode(ctx context.Context, id string) error

	// Nodes returns what processes on this database have recorded, in the order of their ids, and until when somebody
	// waits for them to record each change at once, see AwaitNodes.
	Nodes(ctx context.Context) (nodes []NodeState, awaited time.Time, err error)

	// AwaitNodes says that somebody waits until a moment, or later if that was said before.
	AwaitNodes(ctx context.Context, until time.Time) error

	// ClaimReader makes a process the owner of a reader's name, or renews its claim, and returns how far the reader has
	// come: to the end of the feed and to the present when the name is new. While another process owns it, and its
	// lease has not ended by the wall clock, it is [Conflict].
	ClaimReader(ctx context.Context, c ReaderClaim) (FeedReader, error)

	// SaveReader renews an owner's claim and records how far its reader has come; a position or a time before the
	// recorded one changes nothing. Of anybody but the owner it is [Conflict]. With a lease of 0 the claim ends, and
	// another process may own the name.
	SaveReader(ctx context.Context, c ReaderClaim, at FeedReader) error

	// Expiring returns keys that expire in a period. It costs the same however many other keys there are.
	Expiring(ctx context.Context, q ExpiryQuery) ([]Key, error)

	// CreateNetwork adds a network. One whose id or one of whose hosts is taken is [Conflict].
	CreateNetwork(ctx context.Context, n Network) error

	// SuspendNetwork has the nodes not know a network's hosts, or know them again, and returns it. One that is not
	// there is [NotFound]; one that is as it should be is left as it is.
	SuspendNetwork(ctx context.Context, id NetworkID, suspended bool, at time.Time) (Network, error)

	// Networks returns all networks, in the order of their ids.
	Networks(ctx context.Context) ([]Network, error)

	// Positions is the table that every change, of this process and of others on the same database, is applied to. If
	// there can be others, the store renews its lease ([feed.Positions.Renew]) while it knows of their changes.
	Positions() *feed.Positions

	// Ping returns nil when the database answers.
	Ping(ctx context.Context) error

	// Close ends the store: changes that were accepted are committed first, later calls are [Unavailable].
	Close() error
}
