// Package freeport finds ports for servers of tests that cannot be given an open listener.
package freeport
