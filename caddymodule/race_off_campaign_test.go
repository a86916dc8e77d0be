//go:build !race

package caddymodule

// raceDetector makes a request several times as dear: see [campaign.size].
const raceDetector = false
