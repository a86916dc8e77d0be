// Package pool holds what outlives a configuration. Caddy runs an old and a new configuration side by side for a while;
// pieces that both have under the same settings are one piece, which is closed after its last use.
package pool
