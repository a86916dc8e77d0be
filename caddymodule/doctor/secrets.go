package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/talos-edge/talos-edge/caddymodule/internal/secrets"
	"github.com/talos-edge/talos-edge/core/credential"
)

// checkSecrets compares the HMAC secret with the check value in the database.
func checkSecrets(ctx context.Context, s *subject) (found []Finding, skipped string) {
	if s.Node.Storage == "" {
		return nil, "a sidecar has no secrets"
	}
	stored, err := secrets.ReadStored(ctx, s.Storage)
	if err != nil {
		return []Finding{{
			Severity: Error,
			What:     err.Error(),
			Why:      "a node that generated its secrets does not start without them",
			Fix:      "let the user that runs the node read Caddy's storage, or restore the secret from a backup",
		}}, ""
	}
	checks, source := s.Node.Checks, s.SecretSource
	if len(checks) == 0 && stored.HMAC != nil {
		source = secrets.HMACName + " in Caddy's storage"
		if keyring, err := credential.NewKeyring(string(stored.HMAC)); err == nil {
			checks = keyring.Checks()
		}
	}
	if s.state == nil {
		return nil, noDatabase
	}
	for network, check := range s.state.Checks {
		switch {
		case slices.Contains(checks, check):
		case len(checks) == 0:
			found = append(found, Finding{
				Severity: Error,
				What: fmt.Sprintf("the HMAC secret of network %s is missing, and the database has %d keys",
					network, s.state.Keys),
				Why: "no other secret verifies the keys, so a start generates none, and fails",
				Fix: "restore " + secrets.HMACName + " from a backup, or give the secret: option hmac_secret, " +
					"TALOS_SECRETS_HMAC_CURRENT",
			})
		default:
			found = append(found, Finding{
				Severity: Error,
				What: fmt.Sprintf("the HMAC secret of network %s is not the one of its keys; it is from %s",
					network, source),
				Why: "no stored key would verify, so a start fails",
				Fix: "bring the earlier secret back, as the current one or behind it as a retired one: option " +
					"hmac_secret, TALOS_SECRETS_HMAC_RETIRED",
			})
		}
	}
	return found, ""
}
