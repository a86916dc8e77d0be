// Package schema brings databases from one version of their schema to another, by numbered migrations, and says which
// build may run on which version.
//
// All that is done to a schema at once is one transaction of the engine's, which nobody else can have at the same time:
// of several processes that start together one migrates and the others wait, and a failure leaves the old schema.
//
// A database says in its table compatibility which version a build must know at least to run on it. While builds are
// replaced one by one, the new build has migrated the schema and the one before still runs: a migration only adds
// (expand). What the one before needs and the new one does not is removed by a migration of the release after
// (contract), which then raises that number.
package schema
