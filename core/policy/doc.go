// Package policy turns a verdict about a key into a decision about one request.
//
// A verdict may be older than the request, so what depends on the moment or on the request is judged here, on a hit of
// the cache as on a miss: expiry, the caller's address, and what the route asks for in scopes and visibility. The
// functions are pure and allocate nothing. Whatever they do not know refuses. Last comes the key's rate limit, which
// counts only requests that would pass otherwise, and which lets through when the counters are away.
package policy
