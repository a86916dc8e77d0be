// Package directive reads the options of Caddyfile directives. An option is given once, unless it is repeatable.
// Errors name the line.
package directive
