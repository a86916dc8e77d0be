// Package client calls the v2alpha1 API for API keys, and holds the API's wire types: what is read and written here is
// what the server in package adminapi writes and reads.
//
// A [Client] has a method for each call. Each takes a context and a request, and returns the answer and an error.
// [Client.List] iterates over keys, and reads page after page. Options change one call: [NoCache] for a
// verification, [Raw] for programs that pass the server's JSON on.
//
// A refusal by the server is an [*Error]; programs match on its Reason. [ErrAnswer] says that something else than this
// API has answered. Any other error is of the network or of the context.
//
// A call that changes nothing is made a second time when its connection ended before the answer began; one that changes
// something never is, unless a request id makes it the same change. [WithRetries] adds patience with a server that
// refuses for now.
//
// The package imports nothing of the server. It follows no redirects, reads no more than [MaxAnswer] bytes of an
// answer, and puts no credential into an error.
package client
