//go:build race

package upstream

// raceDetector is on: see world.make.
const raceDetector = true
