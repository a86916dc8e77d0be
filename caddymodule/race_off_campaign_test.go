//go:build !race

package caddymodule_test

// raceDetector makes a request several times as dear: see [campaign.size].
const raceDetector = false
