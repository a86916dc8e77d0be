// Package testport chooses the ports of the servers that tests start.
package testport
