// Package networks finds the network of a request: by the host that the client asked for, and never by anything else
// that the request says.
package networks
