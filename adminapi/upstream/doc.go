// Package upstream is a source of verdicts that asks another server: a node of ours, or any other that speaks the
// v2alpha1 API. It is what an edge has in place of keys of its own.
//
// # A look-up
//
// A [Remote] is a [verify.Source]. Look-ups wait for their turn in the verifier, which [Remote.Fit] tells the
// bounds of; a call of [Remote.Lookup] becomes one call of the upstream. A batch is the one form of every
// request, so there is one form of every answer to check.
//
// # What is accepted
//
// Nothing that is not plainly said: a result without is_valid, with an unknown code, status or visibility, with
// metadata that is no object, or about another key than the credential would have, is an error of that one credential.
// One that says no, in a code or status that is unknown, is [verify.ErrRefused]: nothing that was known of the key
// outlives it. INTERNAL, the neutral code and none say nothing. A reply of another length is an error of all. Errors
// are "cannot say" ([core.Unavailable]), are never remembered, and hold nothing of what was sent or answered but
// names. A batch that the upstream refuses (400, 413, 422), or that comes back with results in the wrong place, is
// asked again in halves, so that one odd credential costs the others time and nothing else; alone, it is an error too:
// that an upstream does not take a credential does not say that it is invalid. Where there are many odd ones, what has
// not been answered when a quarter of the timeout is left is an error, and the first of the batch have their answers.
//
// A result in the wrong place must not lend one holder the identity of another, so results are compared with what the
// credentials say of themselves: the key's id, the `sub` of a JWT, the subject in the first claims caveat of a
// macaroon. A forged credential can say what it likes, also the id of somebody else's key, so a batch holds only
// credentials whose results can be told apart. A key shares no batch with anything else that claims its id. Tokens of
// one key share one as long as they end at different seconds, which their results must then name. A token that does not
// say what key it was derived from goes in a batch of one. Where many tokens of one key that end at the same second are
// looked up at once, as when each request derives its own, this makes as many calls of them.
//
// # Health
//
// Each address has a breaker: after some failures in a row (5xx, no answer in time, no connection, no JSON) it is not
// asked for a while, and then by one probe. Calls go to one address until it fails, then to the next. 429 is no
// failure; it is [verify.ErrThrottled], by which the verifier spaces its calls. While no address may be asked,
// look-ups fail at once. 401, 403, 404 and redirects say that this node is misconfigured ([verify.ErrMisconfigured]):
// nothing stale is served for them, nor for what fails after them. An answer "not valid" is a success, a call cut
// short by this node is neither.
//
// # The edge's extension
//
// Calls carry `Talos-Edge: 1`. An upstream that understands it judges the key alone, and tells with each result from
// where and how often the key may be used, which is then judged and counted here. One that does not has judged this
// node's own address, and counted the use, so
//
//   - before a good verdict is returned, the key's record is read for its list, unless [Config.NoIPLists] says that
//     there are none. It is read for each look-up, because it may be changed at any time. A record of a key that is
//     revoked or has expired makes the verdict say so. A derived token may be bound to addresses of its own, which no
//     record tells: it is an error;
//   - IP_NOT_ALLOWED is not about the client. It is a verdict with [core.CodeIPNotAllowed], which no cache keeps,
//     and [Remote.VerifyFor] asks again for the client's address. Equal requests at the same time share a call.
//     These calls have a bound of their own, and each credential a part of it: they come at the clients' rate, and
//     keep no look-up waiting. At most half of the timeout is for the wait.
//
// # Positions
//
// The upstream's feed positions and this node's are different counts, so verdicts carry no position: the verifier uses
// the one that it noted before the look-up. Changes that pass through this node are told to [Remote.Forget], which
// takes the next of this node's positions, so that verdicts from before the change, also those under way, are looked up
// again. Where the upstream has told the change's position in its own feed, later answers are compared with it: an
// address whose data is behind cannot bring a revoked key back. Where it has not, every call about the key, and about
// tokens that name it or no key, asks for no-cache for 5 minutes: a cache there may hold an answer from before the
// change. Otherwise all addresses of the upstream are expected to agree.
package upstream
