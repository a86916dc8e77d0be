// Package logging makes loggers for what outlives a configuration, and for errors that repeat.
package logging
