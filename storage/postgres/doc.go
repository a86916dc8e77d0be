// Package postgres is the storage engine on PostgreSQL, for several nodes with one database.
//
// # Writing
//
// Each node has one connection that writes, with the group commit of package sqlstore. Transactions of several nodes
// run side by side at READ COMMITTED: a key is locked from when it is read to be changed. The positions of a
// transaction's events are taken from a one-row counter by its last statement, so that others wait for the counter
// during one commit only, and positions have no gap and the order of the commits.
//
// There is no savepoint for each change: a change is refused before it writes anything, and more than 64 savepoints
// that have written slow every other session down. What the database itself refuses takes its group with it, and each
// change of the group is tried again alone. So is a change that met another node's in a deadlock. After a loss of the
// connection during a commit nothing is tried again: whether the changes were made is not known, and their callers are
// told so.
//
// # Changes of other nodes
//
// After a commit, and outside of its transaction, a node sends a NOTIFY, one for all commits that waited for the one
// before. Every node listens, and reads the feed when it is notified and every 100 ms besides: that heals a
// notification that was lost, and is all there is where LISTEN does not work (a proxy that pools transactions).
//
// A standby that is promoted may lack the last changes, and a database may be restored. The feed knows the server, the
// timeline and the database that it was written on; where they are others, it continues as another feed, at a position
// beyond all that were given, and every verdict in memory is looked up again.
package postgres
