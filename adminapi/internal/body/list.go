package body

import (
	"bytes"
	"encoding/json"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// List is a JSON array of which no more items are read than one import may have. Without the bound, a body of
// nothing but commas and braces would take a hundred times its length in memory.
type List[T any] struct {
	Items []T
	Over  bool // there are more
}

// UnmarshalJSON reads an array, or null.
func (b *List[T]) UnmarshalJSON(text []byte) error {
	*b = List[T]{}
	d := json.NewDecoder(bytes.NewReader(text))
	first, err := d.Token()
	switch {
	case err != nil:
		return err
	case first == nil:
		return nil
	case first != json.Delim('['):
		return core.NewError(core.BadRequest, "requests: must be an array")
	}
	for d.More() {
		if len(b.Items) == engine.MaxImports {
			b.Over = true
			return nil
		}
		var item T
		if err := d.Decode(&item); err != nil {
			return err
		}
		b.Items = append(b.Items, item)
	}
	return nil
}
