// Package callertest makes the requests with which tests ask who a caller is.
package callertest
