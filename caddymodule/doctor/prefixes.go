package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/talos-edge/talos-edge/core/credential"
)

// checkPrefixes tells which stored keys begin with a prefix that is not configured.
func checkPrefixes(_ context.Context, s *subject) (found []Finding, skipped string) {
	switch {
	case s.Node.Storage == "":
		return nil, isSidecar
	case s.state == nil:
		return nil, noDatabase
	}
	var formats []*credential.Format
	for _, n := range s.Node.Networks {
		format, err := credential.NewFormat(n.ID, nil, n.Prefixes)
		if err != nil {
			return nil, err.Error() // the check config has reported it
		}
		formats = append(formats, format)
	}
	for _, c := range s.state.Prefixes { // of all networks together
		accepts := func(f *credential.Format) bool { return f.Accepts(c.Prefix) }
		if c.Prefix == "" || slices.ContainsFunc(formats, accepts) { // "": it was not recorded
			continue
		}
		found = append(found, Finding{
			Severity: Warning,
			What:     fmt.Sprintf("the prefix %s is not configured, %d stored keys begin with it", c.Prefix, c.Keys),
			Why:      "these keys are refused",
			Fix: "name the prefix as a retired one, after the current one in the option key_prefix or in " +
				"TALOS_CREDENTIALS_API_KEYS_PREFIX_RETIRED, or revoke the keys",
		})
	}
	return found, ""
}
