package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

const jwkShort = "Makes signing keys, and reads the public ones of a server"

// setJWK makes cmd the command jwk.
func setJWK(cmd *cobra.Command) {
	cmd.Use = "jwk"
	cmd.Short = jwkShort
	cmd.Long = `Makes keys as JSON Web Keys (RFC 7517), and reads the public ones that a server's
tokens are verified with.`
	cmd.Example = `  $ talos jwk generate eddsa --jwks -o signing.jwks
  $ talos jwk get --format json | jq .keys`
	group(cmd)
	cmd.AddCommand(newGenerate(), newGetJWK())
}

func newGetJWK() *cobra.Command {
	o := &options{format: formatTable}
	cmd := &cobra.Command{
		Use:   "get",
		Short: "Prints the public keys that a server's tokens are verified with",
		Long: `Prints the public keys that a server's tokens are verified with: the one that it
signs with, and the retired ones. The server is the one at --endpoint, else at
$TALOS_URL, else at ` + defaultEndpoint + `. With --quiet: one kid on each line.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			defer c.Close()
			var answer json.RawMessage
			set, err := c.JWKS(cmd.Context(), client.Raw(&answer))
			if err == nil {
				err = recognise(answer, "keys", "jwks")
			}
			if err != nil {
				return o.failed(err)
			}
			keys, err := publicKeys(set)
			if err != nil {
				return o.failed(err)
			}
			kids := make([]string, len(keys))
			rows := make([][]string, len(keys))
			for i, k := range keys {
				kids[i] = printable(k.Kid)
				rows[i] = []string{k.Kid, k.Type, k.Algorithm, k.Use}
			}
			return o.output(cmd, answer, strings.Join(kids, "\n"), func(w io.Writer) error {
				return printRows(w, []string{"KID", "TYPE", "ALGORITHM", "USE"}, rows)
			})
		},
	}
	o.add(cmd, cmd.Flags())
	return cmd
}

// publicKey is what of a JWK tells keys apart.
type publicKey struct {
	Kid       string `json:"kid"`
	Type      string `json:"kty"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

func publicKeys(set *client.JWKS) ([]publicKey, error) {
	raw := set.Keys
	if raw == nil {
		raw = set.JWKS.Keys // other implementations write it here only
	}
	keys := make([]publicKey, len(raw))
	for i := range raw {
		if json.Unmarshal(raw[i], &keys[i]) != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, client.ErrAnswer)
		}
	}
	return keys, nil
}
