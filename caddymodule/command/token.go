package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

func newDerive(o *options) *cobra.Command {
	algorithm := &choice{kind: "algorithm", prefix: "TOKEN_ALGORITHM_", words: []string{"jwt", "macaroon"}}
	var ttl, claims string
	var scopes []string
	cmd := &cobra.Command{
		Use:   "derive-token CREDENTIAL|-",
		Short: "Makes a token of a key, for a while",
		Long: `Makes a token of a key: one that is valid in place of the key for a while, and may do the
same or less. A JWT can be verified by anyone who reads the server's public keys; a
macaroon can be narrowed by anyone who holds it, see keys attenuate. Without
--scopes the token has all of the key's, with --scopes "" none. With --quiet the
token is all that is printed.`,
		Args:              exactly("a CREDENTIAL"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			r := client.DeriveRequest{Algorithm: client.TokenAlgorithm(algorithm.value()), TTL: ttl}
			var err error
			if r.CustomClaims, err = objectFlag("claims", claims); err != nil {
				return err
			}
			if cmd.Flags().Changed(flagScopes) {
				r.Scopes = append([]string{}, scopes...)
			}
			if r.Credential, err = readCredential(args[0], cmd.InOrStdin()); err != nil {
				return err
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			defer c.Close()
			var answer json.RawMessage
			out, err := c.Derive(cmd.Context(), r, client.Raw(&answer))
			if err != nil {
				return o.failed(err, r.Credential)
			}
			return o.output(cmd, answer, printable(out.Token), func(w io.Writer) error {
				return printToken(w, out)
			})
		},
	}
	flags := cmd.Flags()
	algorithm.add(cmd, "algorithm", "the kind of token (default jwt): ")
	flags.StringVar(&ttl, "ttl", "", "how long it is valid (default 1h)")
	addScopes(flags, &scopes, "what it may do, of the key's scopes")
	flags.StringVar(&claims, "claims", "", "a `JSON` object of claims that the token also makes")
	return cmd
}

func printToken(w io.Writer, t *client.Token) error {
	err := printFields(w,
		field{"SCOPES", strings.Join(t.Scopes, " ")},
		field{"CLAIMS", string(t.Claims)},
		field{"EXPIRES", timesFor(w).expiry(t.ExpireTime)},
	)
	if err == nil {
		_, err = fmt.Fprintf(w, "\n%s\n", printable(t.Token))
	}
	return err
}

func newAttenuate(o *options) *cobra.Command {
	var expires string
	var scopes, cidrs []string
	cmd := &cobra.Command{
		Use:   "attenuate MACAROON|-",
		Short: "Makes a narrower macaroon of one, without a server",
		Long: `Makes a narrower macaroon of one that you hold, to give it to somebody else: it
expires earlier, may do less, or may be used from fewer addresses. No server and no
secret are needed, so what is wrong with the macaroon itself shows when it is
verified. --expires is a duration from now on, or a time as in 2026-01-02T15:04:05Z.
With --scopes "" nothing at all is allowed but what needs no scope.`,
		Args:              exactly("a MACAROON"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			var n engine.Narrowing
			var err error
			if n.Expires, err = moment(expires, time.Now()); err != nil {
				return fmt.Errorf("--expires: %w", err)
			}
			if cmd.Flags().Changed(flagScopes) {
				n.Scopes = append([]string{}, scopes...)
			}
			if n.CIDRs, err = core.ParseCIDRs(cidrs); err != nil {
				return fmt.Errorf("--cidrs: %w", err)
			}
			macaroon, err := readCredential(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			narrower, err := engine.Attenuate(macaroon, n)
			if err != nil {
				return o.failed(err, macaroon)
			}
			answer, err := json.Marshal(map[string]string{"token": narrower})
			if err != nil {
				return err
			}
			return o.output(cmd, answer, narrower, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, narrower)
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&expires, "expires", "", "when it expires: a `duration` from now on, or a time")
	addScopes(flags, &scopes, "what it may do")
	addWords(flags, &cidrs, "cidrs", "from where it may be used")
	return cmd
}

// moment reads a time, or a duration from now on. An empty text is the zero time.
func moment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		lifetime, err := core.ParseDuration(s)
		if err != nil {
			return time.Time{}, err
		}
		t = now.Add(lifetime)
	}
	if !t.After(now) {
		return time.Time{}, errors.New("lies in the past")
	}
	return t, nil
}
