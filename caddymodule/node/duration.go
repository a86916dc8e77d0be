package node

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// Duration is a length of time that reads and writes as text, as [core.ParseDuration] has it: `90s`, `1h30m`, `30d`,
// `1y6mo`.
type Duration time.Duration

// MarshalJSON writes the seconds form, such as "90s".
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(core.FormatSeconds(time.Duration(d)))
}

// UnmarshalJSON reads any form.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is text: %w", err)
	}
	parsed, err := core.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	*d = Duration(parsed)
	return nil
}
