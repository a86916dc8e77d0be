package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/talos-edge/talos-edge/caddymodule/internal/secrets"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/core/credential"
)

// checkSecrets compares the HMAC secrets with the check values in the database.
func checkSecrets(ctx context.Context, s *subject) (found []Finding, skipped string) {
	if s.Node.Storage == "" {
		return nil, "a sidecar has no secrets"
	}
	for i := range s.Node.Networks {
		if f := checkSecret(ctx, s, &s.Node.Networks[i]); f != nil {
			found = append(found, *f)
		}
	}
	if len(found) == 0 && s.state == nil {
		return nil, noDatabase
	}
	return found, ""
}

// checkSecret compares the HMAC secret of one network.
func checkSecret(ctx context.Context, s *subject, n *node.NetworkInspection) *Finding {
	stored, err := secrets.ReadStored(ctx, s.Storage, n.ID)
	if err != nil {
		return &Finding{
			Severity: Error,
			What:     err.Error(),
			Why:      "a node that generated its secrets does not start without them",
			Fix:      "let the user that runs the node read Caddy's storage, or restore the secret from a backup",
		}
	}
	checks, source := n.Checks, s.SecretSource
	if len(n.Hosts) > 0 {
		source = n.SecretSource
	}
	if len(checks) == 0 && stored.HMAC != nil {
		source = secrets.HMACName(n.ID) + " in Caddy's storage"
		if keyring, err := credential.NewKeyring(string(stored.HMAC)); err == nil {
			checks = keyring.Checks()
		}
	}
	if s.state == nil {
		return nil
	}
	check, used := s.state.Checks[n.ID]
	switch {
	case !used, slices.Contains(checks, check):
		return nil
	case len(checks) == 0:
		return &Finding{
			Severity: Error,
			What: fmt.Sprintf("the HMAC secret of network %s is missing, and the database has %d keys",
				n.ID, s.state.Keys),
			Why: "no other secret verifies the keys, so a start generates none, and fails",
			Fix: "restore " + secrets.HMACName(n.ID) + " from a backup, or give the secret: option hmac_secret, " +
				"TALOS_SECRETS_HMAC_CURRENT",
		}
	default:
		return &Finding{
			Severity: Error,
			What: fmt.Sprintf("the HMAC secret of network %s is not the one of its keys; it is from %s",
				n.ID, source),
			Why: "no stored key would verify, so a start fails",
			Fix: "bring the earlier secret back, as the current one or behind it as a retired one: option " +
				"hmac_secret, TALOS_SECRETS_HMAC_RETIRED",
		}
	}
}
