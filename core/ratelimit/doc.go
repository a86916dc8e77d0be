// Package ratelimit counts how often keys are used, and says when one has been used as often as its policy allows.
//
// A [Limiter] follows the generic cell rate algorithm (ITU-T I.371, annex A): a key that may be used q times in a
// window w has room for q uses at once, and gets one back every w/q. A key costs one number, and no window has an edge
// at which the counts of all keys begin anew. In any one window at most twice the quota passes: all of it at once, and
// what comes back meanwhile.
//
// A limiter protects what is behind the gate; it is no proof of who somebody is. So where it cannot say, the use is
// let through: a [Limiter] returns an error, and its caller admits the request and counts that it did (see
// policy.Decide). One whose counts are elsewhere can count for itself meanwhile, as that of storage/redis does, and
// returns no error then. Keys of different networks never share a count.
package ratelimit
