package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/caddymodule/internal/ports"
)

// checkTLS reports whether keys are sent to a gate in clear text.
func checkTLS(_ context.Context, s *subject) (found []Finding, skipped string) {
	if len(s.sites) == 0 {
		return nil, noServer
	}
	for i := range s.sites {
		site := &s.sites[i]
		if site.gates == 0 || len(site.server.TrustedProxiesRaw) > 0 {
			continue // or a proxy that ends TLS is in front
		}
		for _, listen := range site.server.Listen {
			if ports.OnLoopback(listen) || !s.plain(site, listen) {
				continue
			}
			found = append(found, Finding{
				Severity: Warning,
				What:     fmt.Sprintf("the gate of %s takes keys on %s without TLS", site.name, listen),
				Why:      "everyone on the way reads the keys",
				Fix: "name the site by its host, so that Caddy gets a certificate; or bind it to loopback; or name " +
					"the proxy that ends TLS before it in trusted_proxies",
			})
		}
	}
	return found, ""
}

// plain reports whether a listener of a site speaks plain HTTP. A site with a host name has TLS by default, but on the
// port of plain HTTP.
func (s *subject) plain(site *site, listen string) bool {
	if len(site.server.TLSConnPolicies) > 0 {
		return false
	}
	auto := site.server.AutoHTTPS
	address, err := caddy.ParseNetworkAddress(listen)
	if err != nil || auto != nil && auto.Disabled {
		return true
	}
	http := s.HTTP.HTTP
	if http == 0 {
		http = caddyhttp.DefaultHTTPPort
	}
	if address.StartPort == uint(http) {
		return true
	}
	return !slices.ContainsFunc(site.hosts, func(host string) bool {
		return auto == nil || !slices.Contains(auto.Skip, host)
	})
}

// checkLogs says which logs show credentials.
func checkLogs(_ context.Context, s *subject) (found []Finding, skipped string) {
	if !slices.ContainsFunc(s.sites, func(site site) bool { return site.gates > 0 }) {
		return nil, "there is no gate"
	}
	for _, shown := range s.App.Exposure().Shown() {
		found = append(found, Finding{
			Severity: Error,
			What:     fmt.Sprintf("the log %s shows keys: %s", shown.Log, sentence(shown.Credentials)),
			Why:      "whoever reads the log has the keys",
			Fix:      "write `format talos_redact` into its block; if it has a format, talos_redact before that one",
		})
	}
	return found, ""
}

// checkProxies judges whose word is taken for a client's address.
func checkProxies(_ context.Context, s *subject) (found []Finding, skipped string) {
	seen := map[*caddyhttp.Server]bool{}
	for i := range s.sites {
		site := &s.sites[i]
		server := site.server
		if site.gates == 0 && len(site.admin) == 0 || seen[server] || len(server.TrustedProxiesRaw) == 0 {
			continue
		}
		seen[server] = true
		found = append(found, judgeProxies(strings.Join(server.Listen, " "), server)...)
	}
	if len(seen) == 0 {
		return nil, "no server has trusted_proxies"
	}
	return found, ""
}

func judgeProxies(where string, server *caddyhttp.Server) (found []Finding) {
	var source struct {
		Ranges []string `json:"ranges"`
	}
	// A source of another kind finds its own ranges.
	if json.Unmarshal(server.TrustedProxiesRaw, &source) == nil && slices.ContainsFunc(source.Ranges, everyone) {
		found = append(found, Finding{
			Severity: Error,
			What:     "trusted_proxies of " + where + " are all addresses there are",
			Why: "every client can name any address as its own: IP lists of keys, `allow` and limits by address are " +
				"worth nothing",
			Fix: "name your proxies' addresses only",
		})
	}
	if server.TrustedProxiesStrict == 0 {
		found = append(found, Finding{
			Severity: Warning,
			What:     "trusted_proxies of " + where + " without trusted_proxies_strict",
			Why: "Caddy takes the leftmost address of X-Forwarded-For, which the client may have written, in logs " +
				"and matchers; the gate judges the rightmost one that is not a proxy's",
			Fix: "add trusted_proxies_strict to the global option servers",
		})
	}
	return found
}

// everyone reports whether a range is all addresses.
func everyone(text string) bool {
	p, err := netip.ParsePrefix(text)
	return err == nil && p.Bits() == 0
}

// checkAdmin judges who may call the private surface.
func checkAdmin(_ context.Context, s *subject) (found []Finding, skipped string) {
	present := false
	for i := range s.sites {
		site := &s.sites[i]
		present = present || len(site.admin) > 0
		if onLoopback(site.server) {
			continue // nobody else reaches it
		}
		for _, options := range site.admin {
			for _, allowed := range options.Allow {
				found = append(found, judgeAllow(site.name, allowed)...)
			}
		}
	}
	if !present {
		return nil, "there is no talos_admin"
	}
	return found, ""
}

// onLoopback reports whether nobody but this machine reaches a server.
func onLoopback(server *caddyhttp.Server) bool {
	return !slices.ContainsFunc(server.Listen, func(listen string) bool { return !ports.OnLoopback(listen) })
}

// judgeAllow judges one range of callers. Whoever is in it may make and revoke keys.
func judgeAllow(site, allowed string) []Finding {
	finding := Finding{
		Severity: Warning,
		What:     fmt.Sprintf("talos_admin of %s allows the public addresses %s", site, allowed),
		Why:      "it asks for no credential: whoever calls from there makes, reads and revokes keys",
		Fix:      "allow the operators' own addresses only, in a private network or a VPN",
	}
	p, err := netip.ParsePrefix(allowed)
	if err != nil || p.IsSingleIP() || p.Addr().Unmap().IsPrivate() || p.Addr().IsLoopback() {
		return nil // one address, or private_ranges
	}
	if p.Bits() == 0 {
		finding.Severity = Error
		finding.What = fmt.Sprintf("talos_admin of %s allows everyone (%s)", site, allowed)
	}
	return []Finding{finding}
}

// checkCaddyAdmin judges Caddy's own admin endpoint and its copy of the configuration.
func checkCaddyAdmin(_ context.Context, s *subject) (found []Finding, skipped string) {
	listen := s.adminListen()
	switch {
	case listen == "":
	case !ports.OnLoopback(listen):
		found = append(found, Finding{
			Severity: Error,
			What:     "Caddy's admin endpoint can be reached from other machines, at " + listen,
			Why:      "whoever calls it changes the configuration, and takes every gate away",
			Fix:      "write `admin off`, or an address of loopback or a unix socket",
		})
	case !strings.HasPrefix(listen, "unix"):
		found = append(found, Finding{
			Severity: Note,
			What:     "Caddy's admin endpoint is on, at " + listen,
			Why:      "every process of this machine can change the configuration there, and take every gate away",
			Fix:      "write `admin off`, or `admin unix//run/caddy/admin.sock`, where other users have programs here",
		})
	}
	if len(s.RawSecrets) > 0 && (listen != "" || s.persists()) {
		found = append(found, Finding{
			Severity: Warning,
			What:     sentence(s.RawSecrets) + " in plain text in the configuration",
			Why:      "Caddy shows the configuration on its admin endpoint, and saves a copy of it",
			Fix:      "give a placeholder, such as {env.TALOS_SECRETS_HMAC_CURRENT} or {file./run/secrets/hmac}",
		})
	}
	return found, ""
}

// adminListen is where Caddy's admin endpoint listens; empty: nowhere.
func (s *subject) adminListen() string {
	switch {
	case s.Admin.Disabled:
		return ""
	case s.Admin.Listen != "":
		return s.Admin.Listen
	default:
		return caddy.DefaultAdminListen
	}
}

// persists reports whether Caddy saves a copy of the configuration.
func (s *subject) persists() bool {
	c := s.Admin.Config
	return c == nil || c.Persist == nil || *c.Persist
}
