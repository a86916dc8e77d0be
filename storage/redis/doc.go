// Package redis counts the uses of keys in Redis, so that the nodes of a deployment share one count for each key.
//
// A [Limiter] is a [ratelimit.Limiter]. One goroutine makes all calls: it sends the uses that wait in one pipeline over
// one connection, so concurrent uses share a round trip. Each is one run of a script (take.lua), which follows the cell
// rate algorithm of package ratelimit by the clock of Redis. So the clocks of the nodes do not matter, and however many
// nodes use a key at once, Redis admits its quota and no more.
//
// A use waits for Redis until the timeout at most. What Redis cannot say in that time is counted in this process, under
// the same policy: while Redis is away each node gives a key its quota. When calls fail again and again, Redis is away
// until a call of the limiter's own succeeds; no use waits meanwhile.
//
// The names of the entries in Redis begin with "talos:limit:". Each expires when its key has its whole quota again.
package redis
