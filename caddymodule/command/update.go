package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// changeFlags are the flags of a key that is there: those that are given change it, and empty ones clear.
type changeFlags struct {
	keyFlags
	name string
}

func (f *changeFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, flagName, "", "what the key is called")
	f.keyFlags.add(cmd)
}

// changeLong is what the manuals of update and rotate share.
const changeLong = `A flag that is given as "" clears: --scopes "", --metadata "",
--allowed-cidrs ""; so does --rate-limit-quota 0. Of a rate limit, the flag that
is not given stays as it is.`

func newUpdate(o *options, kind client.Kind) *cobra.Command {
	var f changeFlags
	var mask []string
	cmd := &cobra.Command{
		Use:   "update KEY_ID",
		Short: "Changes fields of a key",
		Long: `Changes the fields of a key for which a flag is given, and prints its record.
` + changeLong + `

With --update-mask those fields change and no others: name, scopes, metadata,
rate_limit_policy, ip_restriction. One for which no flag is given is cleared. With
--quiet nothing is printed.`,
		Args:              exactly("a KEY_ID"),
		ValidArgsFunction: o.completeKeyIDs(kind),
		RunE: o.onKey(func(cmd *cobra.Command, c *client.Client, keyID string) error {
			given, err := f.given(cmd)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("update-mask") {
				mask = given
			}
			for _, path := range given {
				if !slices.Contains(mask, path) {
					return errors.New("a flag is given for " + path + ", which is not in --update-mask")
				}
			}
			if len(mask) == 0 {
				return errors.New("nothing to change: give a flag for it; see " + cmd.CommandPath() + " --help")
			}
			return f.update(cmd, o, c, kind, keyID, mask)
		}),
	}
	f.add(cmd)
	addWords(cmd.Flags(), &mask, "update-mask", "the fields that change")
	return cmd
}

// given are the paths of the fields for which a flag is given.
func (f *changeFlags) given(cmd *cobra.Command) (paths []string, err error) {
	if _, err := f.object(); err != nil {
		return nil, err
	}
	if err := f.checkPolicy(cmd); err != nil {
		return nil, err
	}
	for _, field := range []struct{ flag, path string }{
		{flagName, client.PathName},
		{flagScopes, client.PathScopes},
		{flagMetadata, client.PathMetadata},
		{flagQuota, client.PathRateLimitPolicy},
		{flagWindow, client.PathRateLimitPolicy},
		{flagCIDRs, client.PathIPRestriction},
	} {
		if cmd.Flags().Changed(field.flag) && !slices.Contains(paths, field.path) {
			paths = append(paths, field.path)
		}
	}
	return paths, nil
}

func (f *changeFlags) update(
	cmd *cobra.Command, o *options, c *client.Client, kind client.Kind, keyID string, mask []string,
) error {
	change, err := f.change(cmd, o, c, kind, keyID)
	if err != nil {
		return err
	}
	if p := change.RateLimitPolicy; p != nil && p.Quota == 0 {
		change.RateLimitPolicy = nil // in the mask, that clears it; a quota below 1 may be refused
	}
	var answer json.RawMessage
	key, err := c.Update(cmd.Context(), client.UpdateRequest{
		Kind: kind, KeyID: keyID, Mask: mask, Name: change.Name, Scopes: change.Scopes, Metadata: change.Metadata,
		IPRestriction: change.IPRestriction, RateLimitPolicy: change.RateLimitPolicy,
	}, client.Raw(&answer))
	if err != nil {
		return o.failed(err)
	}
	return o.output(cmd, answer, "", func(w io.Writer) error { return printKey(w, key) })
}

// change is what the flags set. What is cleared is there, and empty.
func (f *changeFlags) change(
	cmd *cobra.Command, o *options, c *client.Client, kind client.Kind, keyID string,
) (r client.RotateRequest, err error) {
	flags := cmd.Flags()
	if flags.Changed(flagName) {
		r.Name = &f.name
	}
	if flags.Changed(flagScopes) {
		r.Scopes = append([]string{}, f.scopes...)
	}
	if flags.Changed(flagMetadata) {
		if r.Metadata, err = f.object(); err != nil {
			return r, err
		}
		if r.Metadata == nil {
			r.Metadata = json.RawMessage("{}")
		}
	}
	if flags.Changed(flagCIDRs) {
		r.IPRestriction = &client.IPRestriction{AllowedCIDRs: f.cidrs}
	}
	r.RateLimitPolicy, err = f.changedPolicy(cmd, o, c, kind, keyID)
	return r, err
}

func newRotate(o *options) *cobra.Command {
	var f changeFlags
	var public bool
	var grace string
	cmd := &cobra.Command{
		Use:   "rotate KEY_ID",
		Short: "Replaces a key by a new one, and prints its secret, once",
		Long: `Replaces a key by a new one. The old one is revoked in the same moment or, with
--grace, stays valid for that long. The new one has a key id and a secret of its own,
and in all else is like the old one, but for what flags say. ` + strings.ReplaceAll(changeLong, "\n", " ") + `
With --quiet the secret is all that is printed.`,
		Args:              exactly("a KEY_ID"),
		ValidArgsFunction: o.completeKeyIDs(client.Issued),
		RunE: o.onKey(func(cmd *cobra.Command, c *client.Client, keyID string) error {
			if client.KindOf(keyID) != client.Issued {
				return errors.New("an imported key cannot be rotated: import the new one and revoke this one")
			}
			if _, err := f.given(cmd); err != nil {
				return err
			}
			r, err := f.change(cmd, o, c, client.Issued, keyID)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed(flagPublic) {
				r.Visibility = client.KeyVisibilitySecret
				if public {
					r.Visibility = client.KeyVisibilityPublic
				}
			}
			stays, err := graceFlag(grace)
			if err != nil {
				return err
			}
			r.KeyID, r.Grace = keyID, grace
			var answer json.RawMessage
			out, err := c.Rotate(cmd.Context(), r, client.Raw(&answer))
			if err != nil {
				return o.failed(err)
			}
			if err := o.printSecret(cmd, answer, &out.IssuedAPIKey, out.Secret); err != nil {
				return err
			}
			o.hintRotated(cmd, &out.OldIssuedAPIKey, stays)
			return nil
		}),
	}
	f.add(cmd)
	cmd.Flags().StringVar(&grace, "grace", "", "how long the old key stays valid, such as 24h or 7d, at most 30d")
	cmd.Flags().BoolVar(&public, flagPublic, false, "the key may appear in public code; =false: it may not")
	return cmd
}

// graceFlag reads the flag of a grace period, so that a mistake is found before anything is sent.
func graceFlag(value string) (time.Duration, error) {
	if value == "" {
		return 0, nil
	}
	grace, err := core.ParseDuration(value)
	if err != nil {
		return 0, fmt.Errorf("--grace: %w", err)
	}
	return grace, nil
}

// hintRotated says what has become of the old key of a rotation. That the server has no grace periods, which breaks
// what still uses the old key, is said with --quiet too.
func (o *options) hintRotated(cmd *cobra.Command, old *client.Key, grace time.Duration) {
	switch {
	case old.Status == client.KeyStatusActive:
		o.hint(cmd, secretHint+" The old key expires "+timesFor(cmd.ErrOrStderr()).expiry(old.ExpireTime)+": "+
			printable(old.KeyID))
	case grace > 0:
		cmd.PrintErrln(secretHint + " This server has no grace periods: the old key is revoked already: " +
			printable(old.KeyID))
	default:
		o.hint(cmd, secretHint+" The old key is revoked: "+printable(old.KeyID))
	}
}
