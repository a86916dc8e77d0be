// Package admin is the handler `talos_admin`: the private surface, on which keys are managed.
package admin
