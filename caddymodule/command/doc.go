// Package command is the command line: a tree of cobra commands that Caddy's own command hangs in.
//
// Importing the package adds one command, talos, to any Caddy that is built with the module: `caddy talos serve`,
// `caddy talos keys …`. Our own binary is called talos already; it calls [RegisterTopLevel], and has the same tree
// one level higher: `talos serve`, `talos keys …`.
//
// # serve
//
// serve reads settings from the environment, writes the Caddyfile that they describe, and runs it. There is no second
// way to configure a server: whatever serve does, `talos serve --print-config` shows as a Caddyfile. Secrets and
// connection strings stay in the environment; the text only names the variables.
//
// # keys, events, jwk
//
// The commands keys, events and jwk get are a client of the API and know nothing of the server. What they print follows
// one rule: the answer goes to standard output, and everything that is meant for a human only (hints, errors) to
// standard error. With a format other than table, standard output is the server's answer and nothing else. A credential
// is never part of an error.
//
// A large import is a stream: of the input, one chunk is held, and what came of it is written as it comes. It can be
// stopped, run again and gone on with, and its report holds no keys.
//
// # migrate
//
// migrate works on a database itself, without a server.
//
// # backup, doctor
//
// Both read the configuration of a node and run nothing of it; what they do is in packages backup and doctor.
//
// The package imports nothing of caddymodule that caddymodule registers, so that caddymodule can import it.
package command
