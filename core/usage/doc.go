// Package usage notes when keys were last used, until that is written to a store or reported to an upstream.
//
// A use is a credential that was presented and for which a verifier gave a valid verdict, whatever was then decided
// about the request: one that is refused for its address, its scopes or a limit was made by somebody who has the key.
// The use of a token counts for the key that it was derived from.
//
// A [Recorder] is memory only and never waits for anything: what is lost of it, or does not fit in, makes a key's last
// use appear earlier than it was, and nothing else.
package usage
