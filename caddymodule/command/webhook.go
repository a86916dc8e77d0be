package command

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/adminapi/webhook"
	"github.com/talos-edge/talos-edge/caddymodule/internal/setup"
)

const webhookShort = "Tries a webhook"

// setWebhook makes cmd the command webhook.
func setWebhook(cmd *cobra.Command) {
	cmd.Use = "webhook"
	cmd.Short = webhookShort
	cmd.Long = "Tries the receivers that a node delivers changes to."
	group(cmd)
	cmd.AddCommand(newWebhookTest())
}

// webhookFlags say which webhooks are tried.
type webhookFlags struct {
	config, adapter, url string // of a configuration
	secret               string // of a URL
	allowPrivate         bool
}

func newWebhookTest() *cobra.Command {
	var f webhookFlags
	cmd := &cobra.Command{
		Use:   "test [URL]",
		Short: "Sends one signed test message, and prints the answer",
		Long: `Sends one signed message of the type talos.test from this machine, once, and prints
the status of the answer and how long it took. No key changes, and nothing is stored.

With --config the message goes to each webhook of a node's configuration, or to the
one of --url, with its secret and as the node would send it. The environment must be
that of the node, if its secrets are in there. With a URL it goes there, signed with
--secret.

The exit status is 1 when a receiver did not accept its message, else 0.`,
		Example: `  $ talos webhook test --config /etc/talos/Caddyfile
  $ talos webhook test https://hooks.example.com/talos --secret - < secret.txt`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return errors.New("one URL may be given, and nothing else; see " + cmd.CommandPath() + " --help")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			hooks, err := f.webhooks(cmd, args)
			if err != nil {
				return err
			}
			return testWebhooks(cmd, hooks)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.config, "config", "c", "", "configuration `FILE` of the node")
	flags.StringVarP(&f.adapter, "adapter", "a", "", "name of the file's config adapter, with --config")
	flags.StringVar(&f.url, "url", "", "of the configured webhooks only the one with this `URL`")
	flags.StringVar(&f.secret, "secret", "", "`SECRET` (whsec_…) of the URL; - reads it from standard input")
	flags.BoolVar(&f.allowPrivate, "allow-private", false, "deliver to a private address, too, with a URL")
	return cmd
}

// webhooks are those that are tried.
func (f *webhookFlags) webhooks(cmd *cobra.Command, args []string) ([]webhook.Config, error) {
	switch {
	case len(args) == 1 && (f.config != "" || f.url != "" || f.adapter != ""):
		return nil, errors.New("a URL is tried without a configuration: leave out --config, --adapter and --url")
	case len(args) == 0 && (f.secret != "" || f.allowPrivate):
		return nil, errors.New("--secret and --allow-private are for a URL: the configuration has its own")
	case len(args) == 0 && f.config == "":
		return nil, errors.New("a URL with --secret, or --config must be given; see " + cmd.CommandPath() + " --help")
	case len(args) == 0:
		return f.configured()
	case f.secret == "":
		return nil, errors.New("--secret is required with a URL; - reads it from standard input")
	}
	secret, err := readCredential(f.secret, cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	c := webhook.Config{URL: args[0], Secret: secret, AllowPrivate: f.allowPrivate}
	return []webhook.Config{c}, c.Validate()
}

// configured are the webhooks of the configuration.
func (f *webhookFlags) configured() (hooks []webhook.Config, err error) {
	s, err := setup.LoadFile(f.config, f.adapter, "")
	if err != nil {
		return nil, err
	}
	for i := range s.App.Webhooks {
		if w := &s.App.Webhooks[i]; f.url == "" || w.URL == f.url {
			hooks = append(hooks, w.Config())
		}
	}
	switch {
	case len(hooks) == 0 && f.url != "":
		return nil, errors.New("the configuration has no webhook with this URL")
	case len(hooks) == 0:
		return nil, errors.New("the configuration has no webhook")
	}
	return hooks, nil
}

// testWebhooks sends a message to each, and prints what came of it.
func testWebhooks(cmd *cobra.Command, hooks []webhook.Config) error {
	failed := false
	for i := range hooks {
		o, err := webhook.Test(cmd.Context(), hooks[i])
		if err != nil {
			return err
		}
		u, err := url.Parse(hooks[i].URL)
		if err != nil {
			return err
		}
		said := fmt.Sprint(o.Err)
		if o.Err == nil {
			said = "accepted: " + strconv.Itoa(o.Status) + " " + http.StatusText(o.Status)
		}
		failed = failed || o.Err != nil
		line := fmt.Sprintf("%s: %s (%s)\n", u.Host, printable(said), o.Took.Round(time.Millisecond))
		if _, err := io.WriteString(cmd.OutOrStdout(), line); err != nil {
			return err
		}
	}
	if !failed {
		return nil
	}
	cmd.SilenceErrors = true // what failed has been printed; the exit status is 1
	return errors.New("a receiver did not accept its message")
}
