// Package sqlstore holds what the SQL engines of package storage share: the statements, and the mapping between rows
// and the types of package core.
//
// It opens nothing and begins no transaction. An engine prepares a [Reader], a [Feed] or a [Writer] on a connection or
// a pool of its own, decides when transactions begin and end, and translates the errors of its driver. Errors that come
// from here with a meaning are a [core.Error]; all others are the driver's, as they are.
//
// # Rows
//
//   - A network is its 16 bytes.
//   - A time is an integer, Unix microseconds: the precision of PostgreSQL's timestamps, and enough to hold any year.
//     What has a finer precision is cut, towards the past, when it is written.
//   - Lists (scopes, CIDRs) are a JSON array, metadata is a JSON object; "" stands for none.
//   - A key's created_seq is the position of the event that created it. It orders keys by creation.
package sqlstore
