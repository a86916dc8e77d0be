// Package public is the handler `talos_public`: what anyone may call. A holder revokes a key by showing it.
package public
