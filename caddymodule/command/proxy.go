package command

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/talos-edge/talos-edge/core"
)

const proxyShort = "Answers verifications from a cache, before a server of the API"

// proxyLong is the manual.
const proxyLong = `Answers verifications from a cache, before a server that speaks the v2alpha1 API,
and passes every other call on to it. It keeps no keys and no files.

Calls that pass carry the caller's own headers and host. For its own look-ups it
has no credential: this is for a server that asks for none, because only its
network can reach it. One that asks for a token is put into a Caddyfile, as
"upstream" with "header" (see the manual of the module), and run with "talos run".

It asks its callers for nothing, so it listens where only this machine can
connect. To serve others, take what --print-config shows and say in its
talos_admin with "allow" who they are.

Keys of a server whose prefix is not ory_ak are known by --key-prefix.

A key that is revoked through it is refused at once. One that is revoked
elsewhere may be admitted for the lifetime of a verdict (--cache-ttl), and for five
minutes more while the server does not answer.`

// proxySettings are what proxy runs with.
type proxySettings struct {
	upstreams    []string
	listen       string
	metrics      string
	cacheTTL     string
	cacheSize    string
	allowedHosts []string
	keyPrefix    []string
	publicPrefix []string
}

// setProxy makes cmd the command proxy.
func setProxy(cmd *cobra.Command) {
	var s proxySettings
	var printConfig bool
	cmd.Use = "proxy --upstream URL"
	cmd.Short = proxyShort
	cmd.Long = proxyLong
	cmd.Example = `  $ talos proxy --upstream https://talos.internal:4420
  $ talos proxy --upstream http://10.1.2.3:4420 --listen :4420 --cache-ttl 30s
  $ talos proxy --upstream http://10.1.2.3:4420 --print-config > Caddyfile`
	cmd.Args = noArguments
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return proxy(cmd, &s, printConfig) }
	flags := cmd.Flags()
	flags.StringArrayVar(&s.upstreams, "upstream", nil, "`URL` of the server; given again: another address of it")
	flags.StringVar(&s.listen, "listen", ":8080", "loopback `ADDRESS` and port to listen on, or only a port")
	flags.StringVar(&s.metrics, "metrics-listen", "127.0.0.1:8081", "`ADDRESS` and port of the metrics; empty: none")
	flags.StringVar(&s.cacheTTL, "cache-ttl", "60s", "lifetime of a cached verdict; 0: no cache")
	flags.StringVar(&s.cacheSize, "cache-max-size", "100MiB", "memory of the cache, in `BYTES` or as 64MiB")
	flags.StringSliceVar(&s.allowedHosts, "allowed-hosts", nil,
		"`NAMES` it answers to, beside addresses and localhost, separated by commas")
	flags.StringSliceVar(&s.keyPrefix, "key-prefix", nil,
		"`PREFIXES` of the server's keys where it is not ory_ak, the retired ones too, separated by commas")
	flags.StringSliceVar(&s.publicPrefix, "public-prefix", nil, "the same of its public keys; none: it has none")
	flags.BoolVar(&printConfig, "print-config", false, "print the Caddyfile that would run, and exit")
	cmd.SetFlagErrorFunc(flagError)
}

// proxy runs what the flags say until the process is told to stop.
func proxy(cmd *cobra.Command, s *proxySettings, printConfig bool) error {
	hosts, port, err := s.listener()
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if hosts, err = hostsOrLoopback(cmd.Context(), hosts); err != nil {
		return err
	}
	text, err := s.caddyfile(hosts, port)
	if err != nil {
		return err
	}
	if printConfig {
		_, err := fmt.Fprint(cmd.OutOrStdout(), text)
		return err
	}
	if err := checkFree(cmd.Context(), hosts, port, "--listen says where to listen"); err != nil {
		return err
	}
	if s.metrics != "" {
		host, port, err := hostAndPort(s.metrics)
		if err != nil {
			return fmt.Errorf("--metrics-listen: %w", err)
		}
		if err := checkFree(cmd.Context(), []string{host}, port, "--metrics-listen says where to listen"); err != nil {
			return err
		}
	}
	return runText(cmd, text, "talos: serving what "+strings.Join(s.upstreams, " and ")+" knows on "+
		urls(hosts, port))
}

// listener reads where to listen. No hosts are loopback, IPv4 and, where there is one, IPv6.
func (s *proxySettings) listener() (hosts []string, port uint16, err error) {
	if text, only := strings.CutPrefix(s.listen, ":"); only {
		port, err = portNumber(text)
		return nil, port, err
	}
	host, port, err := hostAndPort(s.listen)
	if err != nil {
		return nil, 0, err
	}
	if addr, err := netip.ParseAddr(host); err != nil || !addr.IsLoopback() {
		return nil, 0, fmt.Errorf("%s can be reached from other machines, and whoever connects may manage keys: take "+
			"what --print-config shows for a loopback address, and say in its `talos_admin` with `allow` who may "+
			"connect", host)
	}
	return []string{host}, port, nil
}

func hostAndPort(address string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.New("must be an address and a port, such as 127.0.0.1:8080")
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if addr, err := netip.ParseAddr(host); err != nil || addr.Zone() != "" {
		return "", 0, errors.New("an IP address or localhost is required before the port")
	}
	port, err = portNumber(text)
	return host, port, err
}

func portNumber(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, errors.New("must be a port from 1 to 65535")
	}
	return uint16(port), nil
}

// caddyfile writes the configuration, formatted as `caddy fmt` would.
func (s *proxySettings) caddyfile(hosts []string, port uint16) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# What `talos proxy` runs with these flags. To change more, save it and use `talos run --config FILE`.")
	line("{")
	servers(line, nil)
	line("\ttalos {")
	line("\t\tupstream %s", strings.Join(s.upstreams, " "))
	if len(s.keyPrefix) > 0 {
		line("\t\tkey_prefix %s", strings.Join(s.keyPrefix, " "))
	}
	if len(s.publicPrefix) > 0 {
		line("\t\tpublic_prefix %s", strings.Join(s.publicPrefix, " "))
	}
	if d, _ := core.ParseDuration(s.cacheTTL); d == 0 {
		line("\t\tcache off")
	} else {
		line("\t\tcache {")
		line("\t\t\tttl %s", s.cacheTTL)
		line("\t\t\tmax_size %s", s.cacheSize)
		line("\t\t}")
	}
	line("\t}")
	line("}")
	line("")
	line("http://:%d {", port)
	line("\tbind %s", strings.Join(hosts, " "))
	if len(s.allowedHosts) > 0 {
		line("\ttalos_admin {")
		line("\t\thosts %s", strings.Join(s.allowedHosts, " "))
		line("\t}")
	} else {
		line("\ttalos_admin")
	}
	line("}")
	if s.metrics == "" {
		return b.String(), nil
	}
	metricsHost, metricsPort, err := hostAndPort(s.metrics)
	if err != nil {
		return "", fmt.Errorf("--metrics-listen: %w", err)
	}
	line("")
	line("http://:%d {", metricsPort)
	line("\tbind %s", metricsHost)
	line("\tmetrics")
	line("}")
	return b.String(), nil
}

// check refuses what cannot be part of the configuration. What an upstream and a host name are, its directives say.
func (s *proxySettings) check() error {
	if len(s.upstreams) == 0 {
		return errors.New("--upstream: is required, the URL of the server")
	}
	for _, u := range s.upstreams {
		if !plain(u) {
			return errors.New("--upstream: must be a URL such as https://talos.internal:4420")
		}
	}
	for _, p := range slices.Concat(s.keyPrefix, s.publicPrefix) {
		if !plain(p) {
			return errors.New("--key-prefix and --public-prefix: must be prefixes, separated by commas")
		}
	}
	for _, h := range s.allowedHosts {
		if !plain(h) {
			return errors.New("--allowed-hosts: must be names, separated by commas")
		}
	}
	if d, err := core.ParseDuration(s.cacheTTL); err != nil {
		return fmt.Errorf("--cache-ttl: %w", err)
	} else if d != 0 && d < time.Second {
		return errors.New("--cache-ttl: must be 0, for no cache, or at least 1s")
	}
	if _, err := humanize.ParseBytes(s.cacheSize); err != nil || !plain(s.cacheSize) {
		return errors.New("--cache-max-size: must be a number of bytes, or one such as 64MiB")
	}
	return nil
}
