package node

import (
	"net/http"
	"net/textproto"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
)

// ParseCaddyfile reads the global option `talos`.
func ParseCaddyfile(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("the talos option is given twice; put everything into one block")
	}
	a := new(App)
	if err := a.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "talos", Value: caddyconfig.JSON(a, nil)}, nil
}

// UnmarshalCaddyfile reads the app's options:
//
//	talos {
//		issuer          <uri> [<retired>...]
//		storage         <dsn>
//		hmac_secret     <secret> [<retired>...]
//		signing_keys    <file>|base64://<set> [<active kid>]
//		key_prefix      <prefix> [<retired>...]
//		public_prefix   <prefix> [<retired>...]
//		macaroon_prefix <prefix> [<retired>...]
//		default_ttl     <duration>
//		max_ttl         <duration>
//		clock_skew      <duration>
//		key_quota       <number>
//		rate_limit      memory|off|redis://...|rediss://...|redis-sentinel://...|redis-cluster://...
//		cache           off
//		cache {
//			ttl            <duration>
//			ttl_connected  <duration>
//			negative_ttl   <duration>
//			stale_if_error <duration>
//			max_size       <size>
//		}
//		events {
//			keep       <duration>
//			keep_count <number>
//		}
//		edge_id         <name>
//		webhook <url> {
//			...
//		}
//		upstream <address>... {
//			...
//		}
//		network <host>... {
//			...
//		}
//	}
//
// Each option is given at most once, but for webhook, upstream and network, which [Webhook.unmarshalCaddyfile],
// [Upstream.unmarshalCaddyfile] and [Network.unmarshalCaddyfile] read. Values without placeholders are checked here, so
// that an error names its line.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	seenUpstream, seenNetworks := directive.Once{}, newTaken()
	err := directive.Read(d, func(option string) (err error) {
		switch option {
		case "cache":
			a.Cache = new(Cache)
			err = a.Cache.unmarshalCaddyfile(d)
		case "events":
			a.Events = new(Events)
			err = a.Events.unmarshalCaddyfile(d)
		case "webhook":
			var w Webhook
			err = w.unmarshalCaddyfile(d)
			a.Webhooks = append(a.Webhooks, w)
		case "upstream":
			if a.Upstream == nil {
				a.Upstream = new(Upstream)
			}
			err = a.Upstream.unmarshalCaddyfile(d, seenUpstream)
		case "network":
			return a.unmarshalNetwork(d, seenNetworks)
		case "storage":
			err = directive.Value(d, &a.Storage)
		case "clock_skew":
			a.ClockSkew = new(Duration)
			err = directive.Duration(d, a.ClockSkew)
		case "rate_limit":
			err = directive.Value(d, &a.RateLimit)
		case "edge_id":
			err = directive.Value(d, &a.EdgeID)
		default:
			err = a.unmarshalOption(d, option)
		}
		if err != nil {
			return err
		}
		return a.checkLiteral(d, false)
	}, "webhook", "upstream", "network")
	if err != nil {
		return err
	}
	return a.checkLiteral(d, true)
}

// checkLiteral checks what has been read so far, with everything that holds a placeholder left out. complete says that
// nothing follows.
func (a *App) checkLiteral(d *caddyfile.Dispenser, complete bool) error {
	if err := a.checkSidecar(); err != nil {
		return d.WrapErr(err)
	}
	literal := App{
		KeyOptions: a.literal(), Storage: directive.Literal(a.Storage), ClockSkew: a.ClockSkew,
		RateLimit: directive.Literal(a.RateLimit), Cache: a.Cache, Events: a.Events,
		Webhooks: literalWebhooks(a.Webhooks), Upstream: a.Upstream.literal(), EdgeID: directive.Literal(a.EdgeID),
	}
	literal.assume(&a.KeyOptions, complete)
	if literal.Upstream != nil {
		literal.Storage, literal.HMACSecret, literal.MaxTTL = "", "", 0 // checkSidecar saw to that
		if len(literal.Upstream.Addresses) == 0 {
			literal.Upstream.Addresses = []string{"https://unchecked.invalid"}
		}
	} else if literal.Storage == "" {
		literal.Storage = "sqlite:///unchecked"
	}
	if literal.Upstream == nil && !complete {
		literal.EdgeID = "" // the upstream may follow
	}
	for i := range a.Networks {
		if complete {
			literal.Networks = append(literal.Networks, a.Networks[i].literal(i))
		}
	}
	if _, err := literal.resolve(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalCaddyfile reads the `cache` option.
func (c *Cache) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		if d.Val() != "off" {
			return d.Errf("cache: must be `off` or a block, not %q", d.Val())
		}
		c.Off = true
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	return directive.Block(d, directive.Once{}, func(option string) (err error) {
		if c.Off {
			return d.Err("cache: off takes no block")
		}
		switch option {
		case "ttl":
			if err = directive.Duration(d, &c.TTL); err == nil && c.TTL == 0 {
				err = d.Err("ttl: must not be 0; `cache off` caches nothing")
			}
		case "ttl_connected":
			if err = directive.Duration(d, &c.TTLConnected); err == nil && c.TTLConnected == 0 {
				err = d.Err("ttl_connected: must not be 0")
			}
		case "negative_ttl":
			c.NegativeTTL = new(Duration)
			err = directive.Duration(d, c.NegativeTTL)
		case "stale_if_error":
			c.StaleIfError = new(Duration)
			err = directive.Duration(d, c.StaleIfError)
		case "max_size":
			c.MaxSize, err = directive.Size(d)
		default:
			err = directive.Unknown(d)
		}
		if err != nil {
			return err
		}
		alone := *c
		alone.TTLConnected = 0 // is compared with ttl, which may follow
		if _, err := alone.resolve(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	})
}

// unmarshalCaddyfile reads one `upstream` option:
//
//	upstream <address>... {
//		header          <name> <value>
//		timeout         <duration>
//		max_in_flight   <number>
//		max_queue       <number>
//		ip_lists        none
//		tls_ca          <file>
//		tls_cert        <file> <key file>
//		tls_server_name <name>
//	}
//
// It may be given more than once: the addresses of all are those of one upstream, in their order, and the settings are
// for all of them, in whichever block they are. Each setting is given at most once, `header` once for a name.
func (u *Upstream) unmarshalCaddyfile(d *caddyfile.Dispenser, seen directive.Once) error {
	addresses := d.RemainingArgs()
	if len(addresses) == 0 {
		return d.ArgErr()
	}
	for _, address := range addresses {
		if address == "" {
			return d.Err("upstream: an address is empty")
		}
	}
	u.Addresses = append(u.Addresses, addresses...)
	return directive.Block(d, seen, func(option string) (err error) {
		switch option {
		case "header":
			return u.unmarshalHeader(d)
		case "timeout":
			if err = directive.Duration(d, &u.Timeout); err == nil && u.Timeout == 0 {
				err = d.Err("timeout: must not be 0")
			}
		case "max_in_flight":
			err = directive.Count(d, &u.MaxInFlight)
		case "max_queue":
			err = directive.Count(d, &u.MaxQueue)
		case "ip_lists":
			err = directive.Value(d, &u.IPLists)
		case "tls_ca":
			err = directive.Value(d, &u.TLSCA)
		case "tls_cert":
			err = directive.TwoValues(d, &u.TLSCert, &u.TLSKey)
		case "tls_server_name":
			err = directive.Value(d, &u.TLSServerName)
		default:
			err = directive.Unknown(d)
		}
		if err != nil {
			return err
		}
		if err := u.literal().check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}, "header")
}

func (u *Upstream) unmarshalHeader(d *caddyfile.Dispenser) error {
	var name, value string
	if err := directive.TwoValues(d, &name, &value); err != nil {
		return err
	}
	name = textproto.CanonicalMIMEHeaderKey(name)
	if u.Header[name] != nil {
		return d.Errf("header %s is given twice", name)
	}
	if u.Header == nil {
		u.Header = http.Header{}
	}
	u.Header[name] = []string{value}
	return nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*App)(nil)
