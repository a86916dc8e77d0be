// Package sqlstore holds what the SQL engines of package storage share: the statements, and the mapping between rows
// and the types of package core.
//
// An engine opens the database, says in a [Dialect] what its SQL and its driver's errors have of their own, and embeds
// the methods of a store: [Reads] from a [Reader] and a [Feed] on a pool that reads, [Changes] from a [GroupCommit] on
// a connection that writes. What is left to it is to learn of the changes of other processes ([Feed.CatchUp]).
//
// # Writing
//
// One goroutine commits. It takes all changes that wait, at most 256, into one transaction and one sync. A change that
// is refused (a key id that is taken, a key revoked before) fails alone: it has written nothing, and if the dialect
// says so there is a savepoint to go back to. Any other error rolls the group back, and each of its changes is tried
// alone. While nothing waits behind it, a change is committed at once: there is no timer. The queue is bounded; a
// change that finds it full waits until its caller's context ends. A caller that goes away takes its change out of the
// queue; once the change was taken from the queue it is carried out, whoever waits. A change is answered when it is
// durable and its events were applied to the store's [feed.Positions].
//
// Errors that come from a [Reader], [Feed] or [Writer] with a meaning are a [core.Error]; all others are the driver's,
// as they are.
//
// # Rows
//
//   - A network is its 16 bytes.
//   - A time is an integer, Unix microseconds: the precision of PostgreSQL's timestamps, and enough to hold any year.
//     What has a finer precision is cut, towards the past, when it is written.
//   - Lists (scopes, CIDRs) are a JSON array, metadata is a JSON object; "" means none.
//   - A key's created_seq is the position of the event that created it. It orders keys by creation.
package sqlstore
