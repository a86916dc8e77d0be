// Package outage logs when something that requests depend on begins to fail and when it works again: once
// each, however many calls fail in between, and no more often when it comes and goes.
package outage
