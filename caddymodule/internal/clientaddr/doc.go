// Package clientaddr is the one place where a request becomes the address of a client.
package clientaddr
