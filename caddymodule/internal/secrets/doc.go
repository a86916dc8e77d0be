// Package secrets reads the secrets of a node: the HMAC secret and the signing keys. Those that the configuration does
// not name are generated once and stay in Caddy's storage.
package secrets
