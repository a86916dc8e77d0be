// Package storagetest says in tests what a [core.Store] must do. Every engine of package storage runs the suite:
//
//	func TestStore(t *testing.T) {
//		storagetest.Run(t, func(t *testing.T) storagetest.Opener { … })
//	}
//
// The suite needs no clock and no sleep: where something happens in another goroutine or process, it waits for the
// condition. An engine that cannot be made to fail on demand leaves [Opener.Control] out, and the tests of the hazards
// of committing together are skipped.
package storagetest
