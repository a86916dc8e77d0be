// Package credential knows what credentials look like: it mints issued keys, tells the kinds of credential apart and
// takes them to pieces. It has no state but its secrets and reads nothing from outside.
//
// An issued key is
//
//	{prefix}_v1_{identifier}_{checksum}
//
// The identifier is Base58 (Bitcoin alphabet) of the ASCII text {unix seconds}:{uuid v4}; the UUID is the key id. The
// checksum is Base58 of the HMAC-SHA256 (RFC 2104) over everything before it, under the network's secret. So a forged
// key is refused without looking anything up, and a key id, which is public, is no use to a forger. The secrets are a
// [Keyring]: new keys are made with the current one; retired ones still verify.
//
// An imported key is any string of 1 to 4096 bytes; its key id is the hex SHA-512/256 over the network id, a zero byte
// and the string.
//
// A derived token says which key it belongs to, until when and for what; the claims are the same in both kinds. A JWT
// (RFC 7519) is signed with EdDSA or RS256 by one of the [SigningKeys], which its header's kid names; the algorithm is
// the key's and never the token's choice. A macaroon is
//
//	{prefix}_v1_{base64url of a libmacaroons V2 binary}
//
// under a root key that each HMAC secret makes. Its first caveat holds the claims; holders may append others, which the
// reader must understand and judge, every one. A token has one spelling only, and a claim twice refuses it.
//
// Each credential has exactly one kind. [Format.Parse] decides it in this order: JWT shape, macaroon prefix, issued key
// with a configured prefix, imported. A string that only begins like an issued key is an imported one.
package credential
