package directive

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/talos-edge/talos-edge/core"
)

// Literal is a value, or nothing if it holds a placeholder.
func Literal(s string) string {
	if strings.Contains(s, "{") {
		return ""
	}
	return s
}

// Literals are the values that hold no placeholder.
func Literals(list []string) []string {
	var kept []string
	for _, s := range list {
		if s = Literal(s); s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

// Read reads a directive, or a global option, that takes a block and no values.
func Read(d *caddyfile.Dispenser, read func(option string) error, repeatable ...string) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.ArgErr()
	}
	return Block(d, Once{}, read, repeatable...)
}

// Block has each option of a block read. An option is given at most once, unless it is repeatable.
func Block(d *caddyfile.Dispenser, seen Once, read func(option string) error, repeatable ...string) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if !slices.Contains(repeatable, option) {
			if err := seen.Add(d, option); err != nil {
				return err
			}
		}
		if err := read(option); err != nil {
			return err
		}
	}
	return nil
}

// Once refuses duplicate options.
type Once map[string]bool

// Add notes an option.
func (o Once) Add(d *caddyfile.Dispenser, option string) error {
	if o[option] {
		return d.Errf("option %s is given twice", option)
	}
	o[option] = true
	return nil
}

// Unknown refuses an option.
func Unknown(d *caddyfile.Dispenser) error {
	return d.Errf("unknown option %q", d.Val())
}

// NoBlock refuses a block behind an option that takes none.
func NoBlock(d *caddyfile.Dispenser) error {
	if nesting := d.Nesting(); d.NextBlock(nesting) {
		return d.Errf("unexpected block, with %q in it", d.Val())
	}
	return nil
}

// Value reads the single value of an option.
func Value(d *caddyfile.Dispenser, value *string) error {
	option := d.Val()
	if !d.AllArgs(value) {
		return d.ArgErr()
	}
	if *value == "" {
		return d.Errf("%s: the value is empty", option)
	}
	return NoBlock(d)
}

// CurrentAndRetired reads the value of an option and the ones that were its value before.
func CurrentAndRetired(d *caddyfile.Dispenser, current *string, retired *[]string) error {
	option := d.Val()
	values := d.RemainingArgs()
	if len(values) == 0 {
		return d.ArgErr()
	}
	for _, v := range values {
		if v == "" {
			return d.Errf("%s: a value is empty", option)
		}
	}
	*current = values[0]
	if len(values) > 1 {
		*retired = values[1:]
	}
	return NoBlock(d)
}

// Duration reads a length of time, as [core.ParseDuration] has it.
func Duration[D ~int64](d *caddyfile.Dispenser, value *D) error {
	option := d.Val()
	var text string
	if err := Value(d, &text); err != nil {
		return err
	}
	parsed, err := core.ParseDuration(text)
	if err != nil {
		return d.Errf("%s: %q: %w", option, text, err)
	}
	*value = D(parsed)
	return nil
}

// Number reads a whole number that is not negative.
func Number(d *caddyfile.Dispenser, value *int64) error {
	option := d.Val()
	var text string
	if err := Value(d, &text); err != nil {
		return err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return d.Errf("%s: %q is not a whole number from 0 on", option, text)
	}
	*value = n
	return nil
}

// Size reads a number of bytes, such as 100MiB.
func Size(d *caddyfile.Dispenser) (int64, error) {
	option := d.Val()
	var text string
	if err := Value(d, &text); err != nil {
		return 0, err
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size > 1<<50 {
		return 0, d.Errf("%s: %q is not a size such as 100MiB", option, text)
	}
	return int64(size), nil
}

// TwoValues reads an option's two values.
func TwoValues(d *caddyfile.Dispenser, first, second *string) error {
	option := d.Val()
	if !d.AllArgs(first, second) {
		return d.ArgErr()
	}
	if *first == "" || *second == "" {
		return d.Errf("%s: a value is empty", option)
	}
	return NoBlock(d)
}

// Count reads a whole number of at least 1.
func Count(d *caddyfile.Dispenser, value *int) error {
	option := d.Val()
	var text string
	if err := Value(d, &text); err != nil {
		return err
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return d.Errf("%s: %q is not a whole number of at least 1", option, text)
	}
	*value = int(n)
	return nil
}

// Values reads the values of an option.
func Values(d *caddyfile.Dispenser, values *[]string) error {
	option := d.Val()
	*values = d.RemainingArgs()
	if len(*values) == 0 {
		return d.ArgErr()
	}
	if slices.Contains(*values, "") {
		return d.Errf("%s: a value is empty", option)
	}
	return NoBlock(d)
}

// NoValue ends an option that is only its name.
func NoValue(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return NoBlock(d)
}
