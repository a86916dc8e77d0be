package command

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core/credential"
)

// surface is the part of the API that a server answers.
type surface string

// The surfaces.
const (
	surfaceBoth   surface = ""
	surfaceAdmin  surface = "admin"
	surfacePublic surface = "public"
)

// notFound is what `serve public` answers to everything that is not its own, in the API's error envelope.
const notFound = `{"error":{"code":404,"message":"there is nothing at this path",` +
	`"status":"NOT_FOUND","details":` +
	`[{"@type":"` + client.ErrorInfoType + `","reason":"NOT_FOUND","domain":"` + client.ErrorDomain + `"}]}}`

// caddyfile writes the configuration for a surface on listening addresses. It is formatted as `caddy fmt` would.
func (s *settings) caddyfile(part surface, hosts []string) (string, error) {
	if part != surfacePublic && !s.loopback() {
		return "", fmt.Errorf("%s: %s can be reached from other machines, and the admin surface must not be: run "+
			"`talos serve public` there, or a Caddyfile whose `talos_admin` says with `allow` who may connect",
			envHost, strings.Join(s.hosts, " "))
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	line("# What `talos serve%s` runs. To change more than the environment can, save it and use", suffix(part))
	line("# `talos run --config FILE`. Secrets stay in the environment.")
	if len(s.derived) > 0 {
		line("# Each member of the list %s has a variable with a number; set those yourself then.", envRetired)
	}
	line("{")
	servers(line, s.trustedProxies)
	s.app(line)
	line("}")
	line("")
	line("http://:%d {", s.port)
	line("\tbind %s", strings.Join(hosts, " "))
	switch part {
	case surfaceBoth, surfaceAdmin:
		// It answers what is public too. The limit of talos_public on failed self-revocations is for strangers: here it
		// would make the edges in front of this node share one address's attempts.
		line("\ttalos_admin")
	case surfacePublic:
		line("\theader Cache-Control no-store")
		line("\theader X-Content-Type-Options nosniff")
		line("\ttalos_public {")
		line("\t\thealth")
		line("\t}")
		line("\trespond `%s` 404", notFound)
	default:
		return "", errors.New("unknown surface")
	}
	line("}")
	return b.String(), nil
}

// servers writes the global options that every configuration of ours has.
func servers(line func(string, ...any), trustedProxies []string) {
	line("\t# Nothing but the listener below: no admin endpoint of Caddy's own, no copy of the configuration.")
	line("\tadmin off")
	line("\tpersist_config off")
	line("\tgrace_period 10s")
	line("\tservers {")
	line("\t\tprotocols h1")
	if len(trustedProxies) > 0 {
		line("\t\t# The client is who the nearest of these proxies says, read from the right.")
		line("\t\ttrusted_proxies static %s", strings.Join(trustedProxies, " "))
		line("\t\ttrusted_proxies_strict")
	}
	line("\t\ttimeouts {")
	line("\t\t\tread_header 10s")
	line("\t\t\tread_body 30s")
	line("\t\t\tidle 2m")
	line("\t\t}")
	line("\t}")
}

// app writes the global option talos. What is not set is left out: the defaults are the app's own.
func (s *settings) app(line func(string, ...any)) {
	var options []string
	add := func(name, value string) {
		if value != "" {
			options = append(options, name+" "+value)
		}
	}
	add("issuer", s.issuer)
	add("storage", placeholder(s.dsn))
	add("signing_keys", placeholder(s.signingKeys))
	if s.hmacSecret != "" {
		secrets := []string{placeholder(s.hmacSecret)}
		for _, name := range s.retired {
			secrets = append(secrets, placeholder(name))
		}
		add("hmac_secret", strings.Join(secrets, " "))
	}
	if s.keyPrefix != "" || len(s.retiredPrefixes) > 0 {
		current := cmp.Or(s.keyPrefix, credential.DefaultPrefix)
		add("key_prefix", strings.Join(append([]string{current}, s.retiredPrefixes...), " "))
	}
	add("max_ttl", s.maxTTL)
	switch {
	case s.cacheOff:
		add("cache", "off")
	case s.cacheTTL != "":
		add("cache", "{\n\t\t\tttl "+s.cacheTTL+"\n\t\t}")
	}
	if len(options) == 0 {
		return
	}
	line("\ttalos {")
	for _, o := range options {
		line("\t\t%s", o)
	}
	line("\t}")
}

// placeholder refers to a variable of the environment. It is expanded when the configuration is loaded.
func placeholder(name string) string {
	if name == "" {
		return ""
	}
	return "{env." + name + "}"
}

func suffix(part surface) string {
	if part == surfaceBoth {
		return ""
	}
	return " " + string(part)
}
