// Package sidecar serves the API on a node that has no keys, in front of an upstream that has. Verifications are
// answered from the sidecar's verifier; everything else passes to the upstream with the caller's authority and none of
// the sidecar's own, and what it may have changed is forgotten before the caller gets the response.
package sidecar
