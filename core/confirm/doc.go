// Package confirm knows who reads the feed of changes and how far each reader has come, so that a change can be
// confirmed: an edge acknowledges a position when all changes up to it are applied there.
//
// Edges that read from this process acknowledge by their next question, see [Edges]. Other processes on the same
// database record their own position, and that of their edges, in the database: from time to time, and with each change
// while somebody waits, see [Confirmations].
package confirm
