// Package ports finds out which processes listen on a port that this one is to listen on. Caddy's listeners
// share their ports (SO_REUSEPORT), so that a reload can hand them over; without this check a second process would get
// some of the connections.
package ports
