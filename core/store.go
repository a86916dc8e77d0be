package core

import "context"

// Store keeps keys. It is what [Engine] needs of a database; package storage implements it, and package
// storage/storagetest says in tests what an implementation must do.
//
// Methods may be called from several goroutines. A method that changes something
//
//   - writes the change and its [Event] in one transaction, and answers after the commit is durable;
//   - applies the event to its [Positions] before it answers;
//   - has changed nothing when it returns an error, but for [DeadlineExceeded] and [Unavailable] after a loss of the
//     connection, when the outcome is not known;
//   - is not undone by the caller's cancellation once it has begun: a caller that goes away while its change waits
//     takes that change out of the queue, and harms no other.
//
// Errors are an [*Error]: [KeyNotFound], [Conflict] and [FailedPrecondition] as the methods say; [Unavailable] when the
// database does not answer, is full, locked, read-only or closed; [DeadlineExceeded] when ctx ended first; [Internal]
// for anything else. None holds key material.
type Store interface {
	// Create adds a key. When the network has a key of the same kind with the same non-empty RequestID, it changes
	// nothing and returns that key and false. A key id that is taken is [Conflict].
	Create(ctx context.Context, key Key) (stored Key, created bool, err error)

	// Get returns a key, or [KeyNotFound].
	Get(ctx context.Context, network NetworkID, keyID string) (Key, error)

	// GetMany returns those of the named keys that exist, by id, with one query.
	GetMany(ctx context.Context, network NetworkID, keyIDs []string) (map[string]Key, error)

	// Revoke makes an active key, expired or not, a revoked one and returns it. A key of another kind than asked for
	// (unless [AnyKind]) is [KeyNotFound]; one that is revoked already is [FailedPrecondition].
	Revoke(ctx context.Context, network NetworkID, kind Kind, keyID string, r Revocation) (Key, error)

	// ClaimSecret compares a network's HMAC secrets with the ones that its keys were made with. checks are the check
	// values of the current secret and then of the retired ones. With none stored yet, the first is stored. A stored
	// one that is among checks is replaced by the first; one that is not is [FailedPrecondition]: with these secrets
	// no stored key would verify.
	ClaimSecret(ctx context.Context, network NetworkID, checks []string) error

	// Positions is the table that every change, of this process and of others on the same database, is applied to.
	Positions() *Positions

	// Ping returns nil when the database answers.
	Ping(ctx context.Context) error

	// Close ends the store: changes that were accepted are committed first, later calls are [Unavailable].
	Close() error
}
