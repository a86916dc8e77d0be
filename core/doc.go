// Package core is the domain of Talos Edge: API keys, and what can be said about them.
//
// # Vocabulary
//
//   - A key is a record: who holds it (actor), what it may do (scopes), from where (CIDRs), until when. It belongs to
//     one network and is named by a key id, which is public.
//   - A credential is what a client presents. It is secret; it is never stored, logged or put into an error. Package
//     credential mints, routes and parses credentials.
//   - A network is a tenant: a separate set of keys with secrets of its own. Every signature that touches data takes
//     the network's id; networks never meet.
//   - A verdict is what is known about the key behind a credential. It can be cached. A decision is what follows from
//     a verdict for one request: expiry, address, scopes and limits are judged again each time (package policy).
//   - A position is a number in the feed of changes. Every change has one; every verdict carries the position that its
//     look-up started at. A verdict older than the last change of its key is not used (package verify).
//
// # What always holds
//
//   - An acknowledged change is durable and takes effect at once: a [Store] applies the change to its
//     [feed.Positions] before it answers.
//   - Unavailable is not invalid: a [Store] that cannot answer returns an [Error], never a verdict.
//   - Unknown means no. A status, kind or visibility that this build does not know refuses.
//
// The package imports no Caddy, no SQL and no network code. It holds the types that the other packages share: package
// engine has the operations on keys, package verify the cache of verdicts, package storage the implementations of
// [Store].
package core
