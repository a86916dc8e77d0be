// Package verify answers what is known about the key behind a credential, from memory when it can.
//
// A [Verifier] asks its one dependency, a [Source], and remembers the verdict. It caches verdicts and never decisions:
// expiry, address, scopes and limits are judged for each request by package policy, on a hit as on a miss.
//
// # What always holds
//
//   - No credential is stored. An entry is found by a SHA-256 over a random key of the process, the network and the
//     credential, and the whole digest is compared.
//   - An acknowledged change takes effect at once. An entry carries the position that its look-up began at, and the
//     place of its key in [feed.Positions]. An entry, or the answer of a shared look-up, that is older than the last
//     change of its key is looked up again.
//   - What is remembered is used only while the table of positions may be relied on, see [feed.Positions.Renew]: a
//     process that was paused reads changes before it answers. A request waits for that, and is an error if it
//     takes longer than the deadline of a look-up.
//   - Unavailable is not invalid. A failed look-up is an error and is never remembered. A good verdict may serve on
//     for the stale window; a negative one, a revoked one and one whose key has changed never do.
//   - Everything is bounded: the memory of the entries, the look-ups in flight, the look-ups that wait, and the time
//     of each.
//
// # How an answer is found
//
// A small table of pointers, then the positive cache, then the negative one; each is read without a lock of ours.
// Negative verdicts have a cache of their own, so that random credentials cannot push good ones out. On a miss
// [Source.Prepare] may answer without I/O; else identical credentials share one look-up, which runs on a
// context of its own, so that a caller who goes away harms nobody.
//
// # The queue
//
// Look-ups of different credentials go to the source together. A look-up goes at once while a call may go out;
// otherwise it waits, and a call that returns takes the waiting ones with it: keys that were good before first, the
// rest in turns between client addresses (see [WithClient]). A look-up that has waited for too long is refused, so
// that the source is never asked what nobody waits for any more, and answers as much as it can whatever is offered to
// it.
package verify
