//go:build race

package upstream

// raceDetector is on: memory is not what it is without it.
const raceDetector = true
