// Package redact keeps credentials out of logs: the log format `talos_redact`, and the search for logs that would show
// what gates take credentials from.
package redact
