// Package backup writes a backup of a running node: a tar archive with a copy of its database as of one moment, the
// secrets that were generated for it, and a note that says how to restore it.
//
// An archive is complete or it is not there. The copy is made by the database, so a node may write meanwhile; secrets
// are compared with those that its keys were made with, so that no backup is found to be of no use when it is needed.
package backup
