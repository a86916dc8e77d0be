package command

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const manual = "README.md"

// manualSection is the part of the manual under a heading, up to the next one of the same level or a higher one.
func manualSection(t *testing.T, heading string) string {
	t.Helper()
	text := read(t, manual)
	_, section, ok := strings.Cut(text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", manual, heading)
	}
	level := strings.Count(strings.Fields(heading)[0], "#")
	end := regexp.MustCompile(fmt.Sprintf(`(?m)^#{1,%d} `, level)).FindStringIndex(section)
	if end != nil {
		section = section[:end[0]]
	}
	return strings.TrimSpace(section)
}

// leaves calls f for each command that does something.
func leaves(cmd *cobra.Command, f func(*cobra.Command)) {
	if !cmd.HasSubCommands() {
		f(cmd)
	}
	for _, c := range cmd.Commands() {
		leaves(c, f)
	}
}

// cell is text in a cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// commandTable is the table of all commands.
func commandTable() string {
	var b strings.Builder
	b.WriteString("| command | |\n|---|---|\n")
	leaves(tree(), func(c *cobra.Command) {
		use := strings.TrimSuffix(strings.TrimPrefix(c.UseLine(), "talos "), " [flags]")
		fmt.Fprintf(&b, "| `%s` | %s |\n", cell(use), cell(c.Short))
	})
	return strings.TrimSpace(b.String())
}

// optionTable is the table of all options: what each is for, and the commands that have it.
func optionTable() string {
	type option struct {
		name, usage string
		commands    []string
	}
	var options []*option
	add := func(command string, f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		name := "`--" + f.Name
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		name = strings.TrimSpace(name+" "+value) + "`"
		if d := f.DefValue; d != "" && d != "false" && d != "0" && d != "[]" && !strings.Contains(usage, "default") {
			usage += " (default " + d + ")"
		}
		i := slices.IndexFunc(options, func(o *option) bool { return o.name == name && o.usage == usage })
		if i < 0 {
			i = len(options)
			options = append(options, &option{name: name, usage: usage})
		}
		if o := options[i]; !slices.Contains(o.commands, command) {
			o.commands = append(o.commands, command)
		}
	}
	for _, top := range tree().Commands() {
		top.PersistentFlags().VisitAll(func(f *pflag.Flag) { add("all of "+top.Name(), f) })
	}
	leaves(tree(), func(c *cobra.Command) {
		path := strings.TrimPrefix(c.CommandPath(), "talos ")
		for _, group := range []string{"keys issued ", "keys imported ", "keys "} { // a name means the same in each
			path = strings.TrimPrefix(path, group)
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" {
				add(path, f)
			}
		})
	})
	slices.SortStableFunc(options, func(a, b *option) int {
		return strings.Compare(strings.Trim(a.name, "`-"), strings.Trim(b.name, "`-"))
	})
	var b strings.Builder
	b.WriteString("| option | of | |\n|---|---|---|\n")
	for _, o := range options {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", o.name, strings.Join(o.commands, ", "), cell(o.usage))
	}
	return strings.TrimSpace(b.String())
}

// With -update the tables are written into the manual.
func TestTheManualHasEveryCommandAndOption(t *testing.T) {
	for heading, want := range map[string]string{"## Commands": commandTable(), "## Options": optionTable()} {
		section := manualSection(t, heading)
		begin := strings.Index(section, "| ")
		if begin < 0 {
			t.Fatalf("%s: there is no table", heading)
		}
		table, _, _ := strings.Cut(section[begin:], "\n\n")
		if table == want {
			continue
		}
		if *update {
			head := heading + "\n\n" // a short section may be found elsewhere
			text := strings.Replace(read(t, manual), head+section, head+strings.Replace(section, table, want, 1), 1)
			if err := os.WriteFile(manual, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		t.Errorf("%s: the table in %s is\n%s\nand the commands have\n%s", heading, manual, table, want)
	}
}

// firstCells are the first cells of a table in a section of the manual, without their marks.
func firstCells(t *testing.T, heading string) (cells []string) {
	t.Helper()
	for line := range strings.Lines(manualSection(t, heading)) {
		if cell, ok := strings.CutPrefix(line, "| `"); ok {
			cell, _, _ = strings.Cut(cell, "`")
			cells = append(cells, cell)
		}
	}
	slices.Sort(cells)
	return cells
}

func TestTheManualHasEveryEnvironmentVariable(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			want = append(want, regexp.MustCompile(`\bTALOS_[A-Z_]*[A-Z]\b`).FindAllString(read(t, file), -1)...)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	if got := firstCells(t, "## Environment"); !slices.Equal(got, want) {
		t.Errorf("the manual has %v, the code %v", got, want)
	}
}

func TestTheManualHasEveryExitStatus(t *testing.T) {
	t.Parallel()
	want := []string{"0", "1", strconv.Itoa(exitInvalid), strconv.Itoa(exitMore),
		strconv.Itoa(exitUnconfirmed)}
	if got := firstCells(t, "## Exit status"); !slices.Equal(got, want) {
		t.Errorf("the manual has %v, the code %v", got, want)
	}
}
