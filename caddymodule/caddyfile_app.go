package caddymodule

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"

	"github.com/talos-edge/talos-edge/core"
)

// parseApp reads the global option.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
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
//		rate_limit      memory|off
//		cache           off
//		cache {
//			ttl            <duration>
//			ttl_connected  <duration>
//			negative_ttl   <duration>
//			stale_if_error <duration>
//			max_size       <size>
//		}
//		upstream <address>... {
//			...
//		}
//	}
//
// Each option stands at most once, but for upstream, which [Upstream.unmarshalCaddyfile] reads. Values without
// placeholders are checked here, so that an error names its line.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	seenUpstream := once{}
	err := directive(d, func(option string) (err error) {
		switch option {
		case "cache":
			a.Cache = new(Cache)
			err = a.Cache.unmarshalCaddyfile(d)
		case "upstream":
			if a.Upstream == nil {
				a.Upstream = new(Upstream)
			}
			err = a.Upstream.unmarshalCaddyfile(d, seenUpstream)
		default:
			err = a.unmarshalValue(d, option)
		}
		if err != nil {
			return err
		}
		return a.checkLiteral(d, false)
	}, "upstream")
	if err != nil {
		return err
	}
	return a.checkLiteral(d, true)
}

// unmarshalValue reads an option that is a value or a list of them.
func (a *App) unmarshalValue(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "issuer":
		return currentAndRetired(d, &a.Issuer, &a.RetiredIssuers)
	case "storage":
		return oneValue(d, &a.Storage)
	case "hmac_secret":
		return currentAndRetired(d, &a.HMACSecret, &a.RetiredHMACSecrets)
	case "signing_keys":
		var kid []string
		if err := currentAndRetired(d, &a.SigningKeys, &kid); err != nil {
			return err
		}
		if len(kid) > 1 {
			return d.Err("signing_keys: the keys and at most one kid are required")
		}
		a.ActiveKid = strings.Join(kid, "")
		return nil
	case "key_prefix":
		return currentAndRetired(d, &a.KeyPrefix, &a.RetiredKeyPrefixes)
	case "public_prefix":
		return currentAndRetired(d, &a.PublicPrefix, &a.RetiredPublicPrefixes)
	case "macaroon_prefix":
		return currentAndRetired(d, &a.MacaroonPrefix, &a.RetiredMacaroonPrefixes)
	case "default_ttl":
		return durationValue(d, &a.DefaultTTL)
	case "max_ttl":
		if err := durationValue(d, &a.MaxTTL); err != nil {
			return err
		}
		if a.MaxTTL == 0 {
			return d.Err("max_ttl: must not be 0")
		}
		return nil
	case "clock_skew":
		a.ClockSkew = new(Duration)
		return durationValue(d, a.ClockSkew)
	case "key_quota":
		return numberValue(d, &a.KeyQuota)
	case "rate_limit":
		return oneValue(d, &a.RateLimit)
	default:
		return unknownOption(d)
	}
}

// checkLiteral checks what has been read so far, with everything that holds a placeholder left out. complete says that
// nothing follows.
func (a *App) checkLiteral(d *caddyfile.Dispenser, complete bool) error {
	if err := a.checkSidecar(); err != nil {
		return d.WrapErr(err)
	}
	literal := App{
		Issuer: withoutPlaceholder(a.Issuer), RetiredIssuers: literals(a.RetiredIssuers),
		Storage:    withoutPlaceholder(a.Storage),
		HMACSecret: withoutPlaceholder(a.HMACSecret), RetiredHMACSecrets: literals(a.RetiredHMACSecrets),
		KeyPrefix: withoutPlaceholder(a.KeyPrefix), RetiredKeyPrefixes: literals(a.RetiredKeyPrefixes),
		PublicPrefix: withoutPlaceholder(a.PublicPrefix), RetiredPublicPrefixes: literals(a.RetiredPublicPrefixes),
		MacaroonPrefix:          withoutPlaceholder(a.MacaroonPrefix),
		RetiredMacaroonPrefixes: literals(a.RetiredMacaroonPrefixes),
		SigningKeys:             withoutPlaceholder(a.SigningKeys), ActiveKid: withoutPlaceholder(a.ActiveKid),
		DefaultTTL: a.DefaultTTL, MaxTTL: a.MaxTTL, ClockSkew: a.ClockSkew, KeyQuota: a.KeyQuota,
		RateLimit: withoutPlaceholder(a.RateLimit), Cache: a.Cache, Upstream: a.Upstream.literal(),
	}
	if literal.SigningKeys == "" || literal.ActiveKid != a.ActiveKid {
		literal.SigningKeys, literal.ActiveKid = "", "" // neither means anything without the other
	}
	if literal.Upstream != nil {
		literal.Storage, literal.HMACSecret = "", "" // checkSidecar saw to that
		if len(literal.Upstream.Addresses) == 0 {
			literal.Upstream.Addresses = []string{"https://unchecked.invalid"}
		}
	} else if literal.Storage == "" {
		literal.Storage = "sqlite:///unchecked"
	}
	if literal.HMACSecret == "" {
		literal.RetiredHMACSecrets = nil
	}
	if literal.PublicPrefix == "" {
		literal.RetiredPublicPrefixes = nil
	}
	// Their defaults clash with nothing as long as another value may follow, or a placeholder holds it.
	if literal.KeyPrefix == "" && (!complete || a.KeyPrefix != "") {
		literal.KeyPrefix = "unchecked-key"
	}
	if literal.MacaroonPrefix == "" && (!complete || a.MacaroonPrefix != "") {
		literal.MacaroonPrefix = "unchecked-mac"
	}
	if literal.MaxTTL == 0 && !complete && literal.Upstream == nil {
		literal.MaxTTL = Duration(core.MaxTTL) // a lower one may follow
	}
	if _, err := literal.resolve(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func withoutPlaceholder(s string) string {
	if strings.Contains(s, "{") {
		return ""
	}
	return s
}

func literals(list []string) []string {
	var kept []string
	for _, s := range list {
		if s = withoutPlaceholder(s); s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

// unmarshalCaddyfile reads the `cache` option.
func (c *Cache) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		if d.Val() != "off" {
			return d.Errf("cache: want `off` or a block, not %q", d.Val())
		}
		c.Off = true
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	return block(d, once{}, func(option string) (err error) {
		if c.Off {
			return d.Err("cache: off takes no block")
		}
		switch option {
		case "ttl":
			if err = durationValue(d, &c.TTL); err == nil && c.TTL == 0 {
				err = d.Err("ttl: must not be 0; `cache off` keeps nothing")
			}
		case "ttl_connected":
			if err = durationValue(d, &c.TTLConnected); err == nil && c.TTLConnected == 0 {
				err = d.Err("ttl_connected: must not be 0")
			}
		case "negative_ttl":
			c.NegativeTTL = new(Duration)
			err = durationValue(d, c.NegativeTTL)
		case "stale_if_error":
			c.StaleIfError = new(Duration)
			err = durationValue(d, c.StaleIfError)
		case "max_size":
			c.MaxSize, err = sizeValue(d)
		default:
			err = unknownOption(d)
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

// directive reads a directive, or a global option, that takes a block and no values.
func directive(d *caddyfile.Dispenser, read func(option string) error, repeatable ...string) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.ArgErr()
	}
	return block(d, once{}, read, repeatable...)
}

// block has each option of a block read. One stands at most once, unless it is repeatable.
func block(d *caddyfile.Dispenser, seen once, read func(option string) error, repeatable ...string) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if !slices.Contains(repeatable, option) {
			if err := seen.add(d, option); err != nil {
				return err
			}
		}
		if err := read(option); err != nil {
			return err
		}
	}
	return nil
}

// once refuses duplicate options.
type once map[string]bool

func (o once) add(d *caddyfile.Dispenser, option string) error {
	if o[option] {
		return d.Errf("option %s is given twice", option)
	}
	o[option] = true
	return nil
}

func unknownOption(d *caddyfile.Dispenser) error {
	return d.Errf("unknown option %q", d.Val())
}

// noBlock refuses a block behind an option that takes none.
func noBlock(d *caddyfile.Dispenser) error {
	if nesting := d.Nesting(); d.NextBlock(nesting) {
		return d.Errf("unexpected block, with %q in it", d.Val())
	}
	return nil
}

// oneValue reads the single value of an option.
func oneValue(d *caddyfile.Dispenser, value *string) error {
	option := d.Val()
	if !d.AllArgs(value) {
		return d.ArgErr()
	}
	if *value == "" {
		return d.Errf("%s: the value is empty", option)
	}
	return noBlock(d)
}

// currentAndRetired reads the value of an option and the ones that were its value before.
func currentAndRetired(d *caddyfile.Dispenser, current *string, retired *[]string) error {
	option := d.Val()
	values := d.RemainingArgs()
	if len(values) == 0 {
		return d.ArgErr()
	}
	for _, v := range values {
		if v == "" {
			return d.Errf("%s: a value is empty", option)
		}
	}
	*current = values[0]
	if len(values) > 1 {
		*retired = values[1:]
	}
	return noBlock(d)
}

func durationValue(d *caddyfile.Dispenser, value *Duration) error {
	option := d.Val()
	var text string
	if err := oneValue(d, &text); err != nil {
		return err
	}
	parsed, err := core.ParseDuration(text)
	if err != nil {
		return d.Errf("%s: %q: %w", option, text, err)
	}
	*value = Duration(parsed)
	return nil
}

// numberValue reads a whole number that is not negative.
func numberValue(d *caddyfile.Dispenser, value *int64) error {
	option := d.Val()
	var text string
	if err := oneValue(d, &text); err != nil {
		return err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return d.Errf("%s: %q is not a whole number from 0 on", option, text)
	}
	*value = n
	return nil
}

func sizeValue(d *caddyfile.Dispenser) (int64, error) {
	option := d.Val()
	var text string
	if err := oneValue(d, &text); err != nil {
		return 0, err
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size > 1<<50 {
		return 0, d.Errf("%s: %q is not a size such as 100MiB", option, text)
	}
	return int64(size), nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*App)(nil)
