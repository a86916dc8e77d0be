package node

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/talos-edge/talos-edge/caddymodule/internal/directive"
	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
	"github.com/talos-edge/talos-edge/core"
)

// Network is one of several networks of a node. What it does not say of its keys is as the node's own options have it;
// a secret or signing keys that are given nowhere are generated for each network on its own.
type Network struct {
	// Hosts are the host names and addresses of the network's requests, without ports. A name is one host, not those
	// below it. A sidecar calls its upstream under the first.
	Hosts []string `json:"hosts,omitempty"`

	// ID is a UUID, which the network's keys and tokens are bound to. It stays when hosts change. The network of a node
	// without the option has the nil UUID.
	ID string `json:"id,omitempty"`

	KeyOptions
}

// maxNetworks is how many networks a configuration may have, and maxHosts how many hosts each.
const (
	maxNetworks = 10_000
	maxHosts    = 100
)

// unmarshalCaddyfile reads one `network` option:
//
//	network <host>... {
//		id              <uuid>
//		issuer          <uri> [<retired>...]
//		hmac_secret     <secret> [<retired>...]
//		signing_keys    <file>|base64://<set> [<active kid>]
//		key_prefix      <prefix> [<retired>...]
//		public_prefix   <prefix> [<retired>...]
//		macaroon_prefix <prefix> [<retired>...]
//		default_ttl     <duration>
//		max_ttl         <duration>
//		key_quota       <number>
//	}
//
// It may be given more than once, each time with another id and other hosts. The id is required.
func (n *Network) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	n.Hosts = d.RemainingArgs()
	if len(n.Hosts) == 0 {
		return d.ArgErr()
	}
	return directive.Block(d, directive.Once{}, func(option string) error {
		if option == "id" {
			return directive.Value(d, &n.ID)
		}
		if err := n.unmarshalOption(d, option); err != nil {
			return err
		}
		literal := n.KeyOptions.literal()
		literal.assume(&n.KeyOptions, false)
		if err := new(networkSettings).resolve(&literal, 0); err != nil {
			return d.WrapErr(err)
		}
		return nil
	})
}

// unmarshalNetwork reads one `network` option, and checks that it has nothing in common with those before.
func (a *App) unmarshalNetwork(d *caddyfile.Dispenser, seen *taken) error {
	var n Network
	if err := n.unmarshalCaddyfile(d); err != nil {
		return err
	}
	a.Networks = append(a.Networks, n)
	literal := n.literal(len(a.Networks))
	if err := literal.identify(new(networkSettings), seen); err != nil {
		return d.WrapErr(fmt.Errorf("network %s: %w", n.name(), err))
	}
	return nil
}

// name names the network for people.
func (n *Network) name() string { return strings.Join(n.Hosts, " ") }

// expand replaces the placeholders.
func (n *Network) expand(e *expander) {
	for i := range n.Hosts {
		e.text("network", &n.Hosts[i])
	}
	e.text("network: id", &n.ID)
	n.KeyOptions.expand(e)
}

// literal is the network, the i-th of its node, with values that clash with nothing in place of those that hold a
// placeholder.
func (n *Network) literal(i int) Network {
	l := Network{Hosts: directive.Literals(n.Hosts), ID: n.ID, KeyOptions: n.KeyOptions.literal()}
	if len(l.Hosts) < len(n.Hosts) {
		l.Hosts = append(l.Hosts, fmt.Sprintf("unchecked-%d.invalid", i))
	}
	if strings.Contains(l.ID, "{") {
		l.ID = core.NetworkID{15: byte(i), 14: byte(i >> 8), 0: 0xff}.String() //nolint:gosec // of a small index
	}
	return l
}

// resolveNetworks checks the options of all networks, and returns their settings by resolve.
func (a *App) resolveNetworks(resolve func(*networkSettings, *KeyOptions) error) ([]*networkSettings, error) {
	if len(a.Networks) == 0 {
		n := new(networkSettings)
		return []*networkSettings{n}, resolve(n, &a.KeyOptions)
	}
	if len(a.Networks) > maxNetworks {
		return nil, fmt.Errorf("network: at most %d are possible", maxNetworks)
	}
	seen := newTaken()
	all := make([]*networkSettings, len(a.Networks))
	for i := range a.Networks {
		n := new(networkSettings)
		err := a.Networks[i].identify(n, seen)
		if err == nil {
			merged := a.Networks[i].over(&a.KeyOptions)
			err = resolve(n, &merged)
		}
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", a.Networks[i].name(), err)
		}
		all[i] = n
	}
	return all, nil
}

// taken are the ids and hosts of networks, of which no two have one in common.
type taken struct {
	ids   map[core.NetworkID]bool
	hosts map[string]bool
}

func newTaken() *taken { return &taken{map[core.NetworkID]bool{}, map[string]bool{}} }

// identify reads the id and the hosts of a network.
func (n *Network) identify(to *networkSettings, seen *taken) (err error) {
	switch {
	case len(n.Hosts) == 0:
		return errors.New("a host is required")
	case len(n.Hosts) > maxHosts:
		return fmt.Errorf("at most %d hosts are possible", maxHosts)
	case n.ID == "":
		return errors.New("the option id is required: a UUID of your choice, which stays as long as the network does")
	}
	if to.id, err = networks.ParseID(n.ID); err != nil {
		return fmt.Errorf("id: %w", err)
	}
	if seen.ids[to.id] {
		return fmt.Errorf("id: %s is another network's already", to.id)
	}
	seen.ids[to.id] = true
	for _, text := range n.Hosts {
		host, err := networks.ParseHost(text)
		if err != nil {
			return err
		}
		if seen.hosts[host] {
			return fmt.Errorf("the host %s is given twice", host)
		}
		seen.hosts[host] = true
		to.hosts = append(to.hosts, host)
	}
	return nil
}
