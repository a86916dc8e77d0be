package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/talos-edge/talos-edge/caddymodule/internal/ports"
)

const serveShort = "Serves the API for API keys"

// serveLong is the manual.
const serveLong = `Serves the API for API keys, without a configuration file: on one listener that
only this machine can reach, http://localhost:4420, with an SQLite database and
secrets that are made once and kept in the data directory.

  serve          both surfaces
  serve admin    the private one: issuing, verifying, revoking
  serve public   the one that may be reached by anyone: self-revocation, the
                 public keys of tokens, health; everything else is 404

"serve admin" and "serve public" may run side by side, on two ports and one
database: what one changes, the other knows at once.

Settings come from the environment:

  TALOS_SERVE_HTTP_HOST              address to listen on (default localhost);
                                     beyond this machine: serve public only
  TALOS_SERVE_HTTP_PORT              port (default 4420)
  TALOS_SERVE_HTTP_TRUSTED_PROXIES   proxies whose X-Forwarded-For is believed:
                                     addresses, ranges, private_ranges
  TALOS_DB_DSN                       sqlite:///path/of/the.db, or postgres://…
                                     for several nodes with one database
  TALOS_SECRETS_HMAC_CURRENT         secret of the keys, at least 32 characters
  TALOS_SECRETS_HMAC_RETIRED         earlier secrets that still verify
  TALOS_SIGNING_KEYS                 keys of derived JWTs: a file with a JWK Set,
                                     or base64:// and the set
  TALOS_CREDENTIALS_ISSUER           URL of the issuer (default http://localhost)
  TALOS_CREDENTIALS_API_KEYS_PREFIX_CURRENT
                                     what keys begin with (default ory_ak)
  TALOS_CREDENTIALS_API_KEYS_PREFIX_RETIRED
                                     earlier prefixes that still verify
  TALOS_CREDENTIALS_API_KEYS_MAX_TTL longest lifetime of a key (default 8760h)
  TALOS_CACHE_TTL                    lifetime of a cached verdict (default 60s); 0: off
  TALOS_SHARE_PORTS                  1: listen also where another process listens, for
                                     a handover; otherwise that is an error

Lists are separated by commas. With PostgreSQL the secret and the signing keys
have to be given, the same ones to every node. With --config the settings come from that file
and from nowhere else: it is the same as the command run.`

// setServe makes cmd the command serve.
func setServe(cmd *cobra.Command) {
	var config, adapter string
	var printConfig bool
	cmd.Use = "serve [admin|public]"
	cmd.Short = serveShort
	cmd.Long = serveLong
	cmd.Example = `  $ talos serve
  $ TALOS_SERVE_HTTP_HOST=0.0.0.0 TALOS_SERVE_HTTP_PORT=8080 talos serve public
  $ talos serve --print-config > Caddyfile
  $ talos serve --config Caddyfile`
	cmd.ValidArgs = []string{string(surfaceAdmin), string(surfacePublic)}
	cmd.Args = cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		part := surfaceBoth
		if len(args) == 1 {
			part = surface(args[0])
		}
		if config != "" {
			if part != surfaceBoth || printConfig {
				return errors.New("--config allows no surface and no --print-config: the file says what is served")
			}
			return run(cmd, config, adapter)
		}
		return serve(cmd, part, printConfig)
	}
	flags := cmd.Flags()
	flags.StringVarP(&config, "config", "c", "", "configuration `FILE` to run in place of the environment's settings")
	flags.StringVarP(&adapter, "adapter", "a", "", "name of the file's config adapter, with --config")
	flags.BoolVar(&printConfig, "print-config", false, "print the Caddyfile that would run, and exit")
}

// run is Caddy's own command run.
func run(cmd *cobra.Command, config, adapter string) error {
	caddyRun, ok := caddycmd.Commands()["run"]
	if !ok || caddyRun.CobraFunc == nil {
		return errors.New("this build of Caddy has no command run")
	}
	var inner cobra.Command
	caddyRun.CobraFunc(&inner)
	for name, value := range map[string]string{"config": config, "adapter": adapter} {
		if err := inner.Flags().Set(name, value); err != nil {
			return err
		}
	}
	err := inner.RunE(&inner, nil)
	cmd.SilenceErrors = inner.SilenceErrors // it has printed its error
	return err
}

// serve runs what the environment says until the process is told to stop.
func serve(cmd *cobra.Command, part surface, printConfig bool) error {
	s, err := readSettings(os.Getenv)
	if err != nil {
		return err
	}
	hosts, err := hostsOrLoopback(cmd.Context(), s.hosts)
	if err != nil {
		return err
	}
	text, err := s.caddyfile(part, hosts)
	if err != nil {
		return err
	}
	if printConfig {
		_, err := fmt.Fprint(cmd.OutOrStdout(), text)
		return err
	}
	if err := checkFree(cmd.Context(), hosts, s.port, envHost+" and "+envPort+" say where to listen"); err != nil {
		return err
	}
	if err := s.setDerived(); err != nil {
		return err
	}
	return runText(cmd, text, started(part, hosts, s))
}

// runText runs a Caddyfile until the process is told to stop. When it serves, it says so by a line.
func runText(cmd *cobra.Command, text, serving string) error {
	config, warnings, err := adapt(cmd.Name(), text)
	if err != nil {
		return fmt.Errorf("the configuration that `talos %s --print-config` shows: %w", cmd.Name(), err)
	}
	for _, w := range warnings {
		cmd.PrintErrln(w.String())
	}

	caddy.TrapSignals() // stops the servers, lets requests finish, then exits
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	cmd.PrintErrln(serving)
	<-cmd.Context().Done()
	return caddy.Stop()
}

// adapt makes JSON of a Caddyfile. Warnings call it by a name.
func adapt(name, text string) (config []byte, warnings []caddyconfig.Warning, err error) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return nil, nil, errors.New("this build of Caddy has no Caddyfile adapter")
	}
	return adapter.Adapt([]byte(text), map[string]any{"filename": name})
}

// started is the line that tells where to go on.
func started(part surface, hosts []string, s *settings) string {
	what := "the admin and the public API"
	if part != surfaceBoth {
		what = "the " + string(part) + " API"
	}
	return fmt.Sprintf("talos: serving %s on %s; keys are in %s", what, urls(hosts, s.port), s.data)
}

// urls are where a server answers, for people.
func urls(hosts []string, port uint16) string {
	all := make([]string, len(hosts))
	for i, h := range hosts {
		all[i] = "http://" + net.JoinHostPort(h, strconv.Itoa(int(port)))
	}
	return strings.Join(all, " and ")
}

// hostsOrLoopback are the given addresses; of none, the loopback addresses that this machine has.
func hostsOrLoopback(ctx context.Context, hosts []string) ([]string, error) {
	if hosts != nil {
		return hosts, nil
	}
	hosts = usable(ctx, "127.0.0.1", "::1")
	if len(hosts) == 0 {
		return nil, errors.New("this machine has no loopback address to listen on")
	}
	return hosts, nil
}

// usable are those of the addresses that this machine has. Not every machine has IPv6.
func usable(ctx context.Context, hosts ...string) []string {
	return slices.DeleteFunc(hosts, func(h string) bool { return checkFree(ctx, []string{h}, 0, "") != nil })
}

// checkFree says whether a port can be had on all addresses; 0 is any port. Caddy shares the ports that it listens on,
// so that it can hand them over; without this check, a second server on the same port would get half of the requests.
func checkFree(ctx context.Context, hosts []string, port uint16, hint string) error {
	if port != 0 && ports.Shared() {
		return nil
	}
	var lc net.ListenConfig
	for _, h := range hosts {
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(h, strconv.Itoa(int(port))))
		if err != nil {
			return fmt.Errorf("%w; %s", err, hint)
		}
		if err := ln.Close(); err != nil {
			return fmt.Errorf("closing a listener: %w", err)
		}
	}
	return nil
}
