// Package k8scheck checks the Kubernetes manifest by Kubernetes' own types and rules. It is a module of its own, so
// that nobody who builds the gate fetches them.
package k8scheck
