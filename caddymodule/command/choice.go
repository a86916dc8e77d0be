package command

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// choice is a flag that takes one of some words for the values of an enum of the API.
type choice struct {
	kind   string // what help calls the value
	prefix string // what the API writes before the words
	words  []string
	word   string // the chosen one; empty: none
}

// String, Set and Type make it a flag value.
func (c *choice) String() string { return c.word }

// Set takes one of the words, in either case, with or without the API's prefix.
func (c *choice) Set(s string) error {
	s = strings.TrimPrefix(strings.ToUpper(s), c.prefix)
	i := slices.IndexFunc(c.words, func(word string) bool { return strings.EqualFold(word, s) })
	if i < 0 {
		return errors.New("must be one of " + strings.Join(c.words, ", "))
	}
	c.word = c.words[i]
	return nil
}

// Type is what help calls the value.
func (c *choice) Type() string { return c.kind }

// value is the API's name for the chosen word; empty: none.
func (c *choice) value() string {
	if c.word == "" {
		return ""
	}
	return c.prefix + strings.ToUpper(c.word)
}

// add adds the flag to a command. The words follow the usage.
func (c *choice) add(cmd *cobra.Command, name, usage string) {
	cmd.Flags().Var(c, name, usage+strings.Join(c.words, ", "))
	completeValues(cmd, name, c.words...)
}
