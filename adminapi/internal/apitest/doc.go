// Package apitest is what the tests of the API share: a store in memory, an engine over it, and requests.
package apitest
