//go:build race

package verify

// raceDetector is on: memory is not what it is without it.
const raceDetector = true
