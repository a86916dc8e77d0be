// Package body reads the bodies of requests to the API: JSON objects of bounded length, of which each field is there
// once.
package body
