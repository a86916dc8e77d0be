package command

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

const healthShort = "Asks a server whether it is alive"

// setHealth makes cmd the command health.
func setHealth(cmd *cobra.Command) {
	o := &options{}
	var ready bool
	cmd.Use = "health"
	cmd.Short = healthShort
	cmd.Long = `Asks a server whether it is alive, and exits with 0 if so: the health check of a
container that has no other program. The server is the one at --endpoint, else at
$TALOS_URL, else at ` + defaultEndpoint + `. It may be the private API, or a site whose
talos_public has "health".

With --ready it asks whether the server can answer about keys, too: it is not ready
while its database or its upstream does not answer. Do not restart a sidecar for
that: it would lose the verdicts with which it goes on.`
	cmd.Example = `  $ talos health
  $ talos health --ready --endpoint http://127.0.0.1:8080`
	cmd.Args = noArguments
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := o.client()
		if err != nil {
			return err
		}
		defer c.Close()
		path := "/health/alive"
		if ready {
			path = "/health/ready"
		}
		var health client.Health
		if _, err := c.Do(cmd.Context(), http.MethodGet, path, nil, &health); err != nil {
			return o.failed(err)
		}
		if health.Status != "ok" {
			return o.failed(client.ErrAnswer)
		}
		return nil
	}
	flags := cmd.Flags()
	o.addServer(flags)
	flags.BoolVar(&ready, "ready", false, "ask whether it can answer about keys, too")
	cmd.SetFlagErrorFunc(flagError)
}
