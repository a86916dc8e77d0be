// Package transfer copies a database into another one, of the same engine or of another.
//
// # One moment
//
// The source is read in one transaction, as of one moment; its nodes go on meanwhile. All rows of the target are
// written in one transaction too. Both sides are then read in the same order and encoding: number and SHA-256 digest of
// each table's rows must be the same, or the transaction is rolled back.
//
// # The mark
//
// Before that, the target is marked with a number that this copy alone has. No node opens a marked database. The
// transaction that completes the copy removes the mark: a copy that is cut short leaves a target that is refused, and
// that the next copy begins anew. One copy cannot go on with the target of another.
//
// # The feed of changes
//
// Positions of events and numbers of keys stay what they are, so that tokens, page tokens and the readers of the feed
// that deliver to external receivers go on. The target is another database all the same: its feed gets another name and
// continues beyond all positions that the source can have given, with a [feed.EventRestored]. Edges start over.
//
// # Following
//
// A copy that follows applies the source's changes in rounds. A round reads the events since the one before and the
// keys that they name, as of one moment, and writes them in one transaction. Last uses of keys have no event: they are
// copied at the end, before both sides are compared again. It ends when no node uses the source any more.
package transfer
