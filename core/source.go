package core

// Claim is what a credential says of itself, checked or not. It tells the answer to the credential from the answers to
// others of the same call.
type Claim struct {
	KeyID string // of the key that the credential belongs to; empty: it does not say
	End   int64  // when a token ends, in seconds since 1970; 0: it does not say, or it is no token
	Size  int    // what it takes in a call, in bytes; 0: as many as it has

	// Sure says that the source cannot mistake one credential of a call for another, whatever they claim.
	Sure bool
}

// Claimed lets all credentials go together: each result is read from the row of its own key.
func (e *Engine) Claimed(NetworkID, string) Claim { return Claim{Sure: true} }

// Admit returns nil: the store may always be asked.
func (e *Engine) Admit() error { return nil }
