// Package talostest builds the command talos and runs it, for the tests of the files and pages that use it.
package talostest
