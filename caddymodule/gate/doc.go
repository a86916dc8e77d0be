// Package gate is the handler `talos_gate`: it lets a request pass if it has one good API key, and tells the app behind
// it whose key it is.
//
// A request's way: its credential is found ([Source]), what a client could forge is stripped, the node says what is
// known about the key, the gate's rules judge it, and the identity headers are set, or the request is denied.
package gate
