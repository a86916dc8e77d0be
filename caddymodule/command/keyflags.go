package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// The flags that say what a key is.
const (
	flagName     = "name"
	flagScopes   = "scopes"
	flagMetadata = "metadata"
	flagCIDRs    = "allowed-cidrs"
	flagQuota    = "rate-limit-quota"
	flagWindow   = "rate-limit-window"
	flagPublic   = "public"
)

// defaultWindow is the window of a rate limit for which none is given.
const defaultWindow = "60s"

// keyFlags are the flags that issue, import, update and rotate share.
type keyFlags struct {
	scopes, cidrs []string
	metadata      string
	quota         int64
	window        string
}

func (k *keyFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	addScopes(flags, &k.scopes, "what the key may do")
	flags.StringVar(&k.metadata, flagMetadata, "", "a `JSON` object that the app behind the gate is shown")
	addWords(flags, &k.cidrs, flagCIDRs, "from where it may be used")
	flags.Int64Var(&k.quota, flagQuota, 0, "how often it may be used in each window, 1 or more; 0: without a limit")
	flags.StringVar(&k.window, flagWindow, "", "the window of the limit, such as 60s, 1h or 1d (default "+
		defaultWindow+")")
}

// object reads the metadata flag; an empty one is nil.
func (k *keyFlags) object() (json.RawMessage, error) { return objectFlag(flagMetadata, k.metadata) }

// objectFlag reads a flag that takes a JSON object; an empty one is nil.
func objectFlag(name, value string) (json.RawMessage, error) {
	if strings.TrimSpace(value) == "" {
		return nil, nil
	}
	object, err := jsonObject(value)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", name, err)
	}
	return object, nil
}

// jsonObject reads a text that must be a JSON object.
func jsonObject(text string) (json.RawMessage, error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "{") || !json.Valid([]byte(text)) {
		return nil, errors.New("must be a JSON object")
	}
	return json.RawMessage(text), nil
}

// newPolicy is the rate limit of a new key; nil: none.
func (k *keyFlags) newPolicy(cmd *cobra.Command) (*client.RateLimitPolicy, error) {
	if err := k.checkPolicy(cmd); err != nil {
		return nil, err
	}
	if k.quota == 0 {
		if cmd.Flags().Changed(flagWindow) {
			return nil, errors.New("--" + flagWindow + " goes with --" + flagQuota)
		}
		return nil, nil
	}
	window := k.window
	if window == "" {
		window = defaultWindow
	}
	return &client.RateLimitPolicy{Quota: client.Int64(k.quota), Window: window}, nil
}

// checkPolicy finds mistakes in the flags of the rate limit.
func (k *keyFlags) checkPolicy(cmd *cobra.Command) error {
	flags := cmd.Flags()
	switch {
	case k.quota < 0:
		return errors.New("--" + flagQuota + ": must be a number from 0, which is no limit")
	case flags.Changed(flagQuota) && k.quota == 0 && flags.Changed(flagWindow):
		return errors.New("--" + flagQuota + " 0 is no limit, and so has no window")
	case flags.Changed(flagWindow) && k.window == "":
		return errors.New("--" + flagWindow + ": must be a duration such as " + defaultWindow)
	default:
		return nil
	}
}

// changedPolicy is the rate limit that the flags make of the one which a key has: what is not given stays. nil: neither
// flag is given. The zero policy clears.
func (k *keyFlags) changedPolicy(
	cmd *cobra.Command, o *options, c *client.Client, kind client.Kind, keyID string,
) (*client.RateLimitPolicy, error) {
	quota, window := cmd.Flags().Changed(flagQuota), cmd.Flags().Changed(flagWindow)
	if !quota && !window {
		return nil, nil
	}
	p := &client.RateLimitPolicy{Quota: client.Int64(k.quota), Window: k.window}
	if quota && (k.quota == 0 || window) {
		return p, nil
	}
	key, err := c.Get(cmd.Context(), client.GetRequest{Kind: kind, KeyID: keyID})
	if err != nil {
		return nil, o.failed(err)
	}
	had := client.RateLimitPolicy{Window: defaultWindow}
	if old := key.RateLimitPolicy; old != nil && old.Quota > 0 && old.Window != "" {
		had = *old
	}
	p.Unit = had.Unit
	switch {
	case !quota && had.Quota == 0:
		return nil, errors.New("the key has no rate limit whose window could change: give --" + flagQuota + " too")
	case !quota:
		p.Quota = had.Quota
	default:
		p.Window = had.Window
	}
	return p, nil
}

// printPolicy prints a rate limit; without one, nothing.
func printPolicy(p *client.RateLimitPolicy) string {
	if p == nil || p.Quota == 0 {
		return ""
	}
	unit := ""
	if p.Unit != "" {
		unit = " " + p.Unit
	}
	return fmt.Sprintf("%d%s per %s", p.Quota, unit, p.Window)
}
