// Package adminapi serves the v2alpha1 API for API keys over HTTP.
//
// There are two surfaces. [Admin] is the private one: it manages and verifies keys and derives tokens of them, and
// whoever reaches it may do all of that, so it belongs on a listener that only operators reach. [Public] is the one for
// everybody: a holder may revoke its own credential there, and anyone reads the key set of derived tokens and, where it
// is turned on, health; a path of the private surface is not found on it, however it is spelled ([IsAdminPath]).
//
// [Operation] and the table of them say what there is: routing, names in logs, methods, and what a sidecar (package
// sidecar) passes on follow from it.
//
// The package turns HTTP into calls of the domain (package core) and its answers into JSON. It decides nothing about
// keys, but it is the one place that knows status codes: [WriteError] writes every refusal, also those of other
// packages. The wire types are those of package client.
package adminapi
