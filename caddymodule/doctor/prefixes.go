package doctor

import (
	"context"
	"fmt"

	"github.com/talos-edge/talos-edge/core"
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
	format, err := credential.NewFormat(core.NetworkID{}, nil, s.Node.Prefixes)
	if err != nil {
		return nil, err.Error() // the check config has reported it
	}
	for _, c := range s.state.Prefixes {
		if c.Prefix == "" || format.Accepts(c.Prefix) { // "": it was not recorded
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
