package verify

import "context"

// Observer is notified of how the source answers. Its methods are called from several goroutines and must not block.
type Observer interface {
	// SourceAnswered says that a call of the source had an answer for at least one credential.
	SourceAnswered()

	// SourceFailed says that a call of the source had an answer for no credential. err holds no credential.
	SourceFailed(err error)

	// ChangesUnknown says that a request could not be answered, from the cache neither, because it is not known which
	// keys have changed.
	ChangesUnknown(err error)
}

// observe notifies the observer of how a call ended. A call that the verifier has cut short shows nothing.
func (v *Verifier) observe(parent context.Context, c *call) {
	switch {
	case v.config.Observer == nil || parent.Err() != nil:
	case c.answers > 0:
		v.config.Observer.SourceAnswered()
	case c.failure != nil:
		v.config.Observer.SourceFailed(c.failure)
	}
}
