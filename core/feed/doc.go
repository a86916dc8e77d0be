// Package feed is the change feed: what has changed, in which order, and which verdicts that makes out of date.
//
// Every change of a key has an [Event] with a position. [Positions] is the table of the last position of each key, by
// which a verdict is recognised as older than its key's last change.
//
// The package imports nothing else of this module: package core, with which it meets in [Event], imports it.
package feed
