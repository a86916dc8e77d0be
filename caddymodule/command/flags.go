package command

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/talos-edge/talos-edge/core"
)

// words is a flag whose value is a list, separated by commas, white space or both. The flag may be given several times;
// "" is the empty list.
type words struct {
	list  *[]string
	check func(word string) error // nil: any word
}

// String, Set and Type make it a flag value.
func (w *words) String() string {
	if w.list == nil {
		return ""
	}
	return strings.Join(*w.list, ",")
}

// Set adds words to the list. Its error does not repeat a word, which may be a credential in the wrong place.
func (w *words) Set(s string) error {
	if *w.list == nil {
		*w.list = []string{}
	}
	for _, word := range splitWords(s) {
		if w.check != nil {
			if err := w.check(word); err != nil {
				return fmt.Errorf("number %d %w", len(*w.list)+1, err)
			}
		}
		*w.list = append(*w.list, word)
	}
	return nil
}

// Type is what help calls the value.
func (w *words) Type() string { return "list" }

// splitWords divides a list at commas and white space.
func splitWords(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

func addWords(flags *pflag.FlagSet, list *[]string, name, usage string) {
	flags.Var(&words{list: list}, name, usage+", separated by commas or spaces")
}

// addScopes adds the flag for scopes.
func addScopes(flags *pflag.FlagSet, list *[]string, usage string) {
	flags.Var(&words{list, checkScope}, flagScopes, usage+", separated by commas or spaces")
}

// checkScope refuses what the API refuses, and a star that would cover nothing: in a key's scopes only * and a star
// after a colon at the end cover other scopes.
func checkScope(s string) error {
	switch {
	case !core.ValidScope(s):
		return errors.New(`is no scope: a scope has printable ASCII characters, without space, comma, " and \`)
	case s != "*" && strings.Contains(strings.TrimSuffix(s, ":*"), "*"):
		return errors.New("has * in the wrong place: it is a scope by itself, or the end of one after a colon, " +
			"as in orders:*")
	default:
		return nil
	}
}

// flagError explains a flag that could not be read. The texts of cobra would repeat what was given, which may be a
// credential.
func flagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		return unknownCommand(cmd, args[0]) // whose flags are not those of the group
	}
	see := "; see " + cmd.CommandPath() + " --help"
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if unknown.GetSpecifiedShortnames() != "" {
			return errors.New("unknown option; a credential that begins with a dash is given as - and read from " +
				"standard input" + see)
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if near := nearest(unknown.GetSpecifiedName(), names); len(near) > 0 {
			return errors.New("unknown option; did you mean --" + strings.Join(near, " or --") + "?")
		}
		return errors.New("unknown option" + see)
	}
	if empty, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return errors.New("--" + empty.GetFlag().Name + " needs a value" + see)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return errors.New("--" + invalid.GetFlag().Name + ": " + valueProblem(invalid))
	}
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	return errors.New("an option cannot be read" + see)
}

// valueProblem says what a flag's value must be.
func valueProblem(e *pflag.InvalidValueError) string {
	switch v := e.GetFlag().Value; v.(type) {
	case *words, *choice, *format: // their errors repeat nothing
		return e.Unwrap().Error()
	default:
		switch v.Type() {
		case "int", "int64":
			return "must be a whole number"
		case "uint64":
			return "must be a whole number from 0"
		case "duration":
			return "must be a duration such as 30s or 2m"
		case "bool":
			return "must be true or false"
		default:
			return "has a value that cannot be read"
		}
	}
}

const (
	// maxDistance is how many letters a mistyped name is away from what is suggested in its place.
	maxDistance = 2
	// maxNear is how many names are suggested.
	maxNear = 3
)

// nearest returns the names that a mistyped word may mean: those that are the fewest letters away, or begin with it.
func nearest(word string, names []string) []string {
	if word == "" {
		return nil
	}
	var list cobra.Command
	for _, name := range names {
		list.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	var near []string
	for list.SuggestionsMinimumDistance < maxDistance && len(near) == 0 {
		list.SuggestionsMinimumDistance++
		near = list.SuggestionsFor(word)
	}
	return near[:min(len(near), maxNear)]
}
