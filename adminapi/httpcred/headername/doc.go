// Package headername compares names of headers as the programs behind a proxy may see them.
package headername
