package node

import (
	"net/http"
	"net/textproto"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
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
