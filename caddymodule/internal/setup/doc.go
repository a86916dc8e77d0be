// Package setup reads a configuration of Caddy for tools that look at a set-up and do not run it. Nothing is opened,
// started or made: no database, no listener, no log file.
package setup
