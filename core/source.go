package core

// Query is one credential that is to be looked up, as a source of verdicts has read it.
type Query struct {
	Network    NetworkID
	Credential string

	// KeyID is the key that the credential belongs to; empty: not known. It is a promise of the source: the verdict of
	// the look-up names the same key, or none.
	KeyID string

	Claim  Claim
	Parsed any // what the source has found in the credential, for its own look-up
}

// Claim is what a credential says of itself, checked or not. It tells the answer to the credential from the answers to
// others of the same call.
type Claim struct {
	KeyID string // of the key that the credential belongs to; empty: it does not say
	End   int64  // when a token ends, in seconds since 1970; 0: it does not say, or it is no token
	Size  int    // what it takes in a call, in bytes; 0: as many as it has

	// Sure says that the source cannot mistake one credential of a call for another, whatever they claim.
	Sure bool
}

// LookupLimits are the bounds of a source's calls. What is 0 has the verifier's default.
type LookupLimits struct {
	Calls int // out at once; default twice the number of processors, 4 to 32
	Items int // look-ups in one call; default 100
	Bytes int // that these take together; a larger one has a call of its own; default 512 KiB
}

// LookupResult is the answer to one credential of several: a verdict, or why there is none.
type LookupResult struct {
	Verdict *Verdict
	Err     error
}
