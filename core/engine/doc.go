// Package engine implements the operations on the keys of one network: issue, import, list, update, rotate, revoke and
// delete keys, derive tokens, and look up which key a credential belongs to.
//
// An [Engine] checks each request, makes and parses credentials by package credential, and leaves records and changes
// to a [core.Store]. It is the source of verdicts of an embedded node (package verify), and adminapi serves it over
// HTTP. Its errors are [core.Error].
package engine
