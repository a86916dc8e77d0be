// Package client calls the v2alpha1 API for API keys, and holds the API's wire types: what is read and written here is
// what the server in package adminapi writes and reads.
//
// A [Client] has a method for each call. Each returns the answer twice: as a value, and as the JSON that the server
// wrote, for programs that pass it on. A refusal by the server is an [*Error]; programs match on its Reason.
//
// A call that changes nothing is made a second time when its connection ended before the answer began; one that changes
// something never is, unless a request id makes it the same change. [WithRetries] adds patience with a server that
// refuses for now.
//
// The package imports nothing of the server. It follows no redirects, reads no more than [MaxAnswer] bytes of an
// answer, and puts no credential into an error.
package client
