// Package httpcred reads credentials from HTTP requests, and strips from a request what nothing behind a gate may see
// or believe: the credential, and headers that a client could pass off as a verified identity.
//
// A [Reader] finds the credential in the places that its [Source]s name, exactly one or none. A [Filter] strips
// identity headers in every spelling that a backend might fold to theirs. [Identity] names these headers, and sets them
// on a request that is admitted.
//
// It is the one place where a request becomes a credential: the gate of package caddymodule/gate uses it, and so does a
// net/http program without Caddy, as the example shows. It is beside the API, and not in core, because core knows no
// HTTP; it needs nothing of the API.
package httpcred
