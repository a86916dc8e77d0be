package caddymodule

import (
	"net/http"
	"net/textproto"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

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
// It may stand more than once: the addresses of all are those of one upstream, in their order, and the settings hold
// for all of them, wherever they stand. Each stands at most once, `header` once for a name.
func (u *Upstream) unmarshalCaddyfile(d *caddyfile.Dispenser, seen once) error {
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
	return block(d, seen, func(option string) (err error) {
		switch option {
		case "header":
			return u.unmarshalHeader(d)
		case "timeout":
			if err = durationValue(d, &u.Timeout); err == nil && u.Timeout == 0 {
				err = d.Err("timeout: must not be 0")
			}
		case "max_in_flight":
			err = countValue(d, &u.MaxInFlight)
		case "max_queue":
			err = countValue(d, &u.MaxQueue)
		case "ip_lists":
			err = oneValue(d, &u.IPLists)
		case "tls_ca":
			err = oneValue(d, &u.TLSCA)
		case "tls_cert":
			err = twoValues(d, &u.TLSCert, &u.TLSKey)
		case "tls_server_name":
			err = oneValue(d, &u.TLSServerName)
		default:
			err = unknownOption(d)
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
	if err := twoValues(d, &name, &value); err != nil {
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

// twoValues reads an option's two values.
func twoValues(d *caddyfile.Dispenser, first, second *string) error {
	option := d.Val()
	if !d.AllArgs(first, second) {
		return d.ArgErr()
	}
	if *first == "" || *second == "" {
		return d.Errf("%s: a value is empty", option)
	}
	return noBlock(d)
}

// countValue reads a whole number of at least 1.
func countValue(d *caddyfile.Dispenser, value *int) error {
	option := d.Val()
	var text string
	if err := oneValue(d, &text); err != nil {
		return err
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return d.Errf("%s: %q is not a whole number of at least 1", option, text)
	}
	*value = int(n)
	return nil
}
