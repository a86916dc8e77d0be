// Package sqlite keeps keys in one SQLite file, without cgo.
//
// # Writing
//
// A [sqlstore.GroupCommit] makes the changes. synchronous=FULL: a commit returns when the write-ahead log was synced.
//
// # Reading
//
// Readers are a pool of connections with prepared statements. In WAL mode they wait for no writer.
//
// # Several processes
//
// Processes on one host may share the file. Each watches it: every 20 ms, and every 2 ms while there are changes, a
// goroutine asks for `PRAGMA data_version` on a connection of its own and reads the new events when it moved. The
// question takes 3 to 6 µs, but it wakes the process up: on a 2-core virtual machine, a process without requests used
// 5.6 % of one core with a question every 5 ms, and 3.2 % with one every 20 ms. Each poll renews the lease of the table
// of positions by 50 ms, so that a process which was paused does not answer from before the pause. The writer fills a
// gap that other processes' events left before its own. SQLite has one writer at a time, so the order of commits is the
// order of positions.
//
// # Failures
//
// A database that is locked for longer than 5 s since a change was asked for, full, read-only or unreadable is
// [core.Unavailable]. Nothing has to be restarted afterwards: the group commit and the watcher reopen their connections
// when they need to.
//
// The path must go on leading to the files that are open. Else changes are [core.Unavailable]; look-ups go on while the
// files are only gone, and are [core.Unavailable] too while others are in their places, and from when the feed of
// changes was found to end before what was read of it: the database was restored while it was open.
package sqlite
