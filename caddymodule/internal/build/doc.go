// Package build reads which version of this module, of Caddy and of Go a binary was made of.
package build
