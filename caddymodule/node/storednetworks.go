package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/caddymodule/internal/logging"
	"github.com/talos-edge/talos-edge/caddymodule/node/networks"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	// storedTimeout bounds one reading of the networks that the database has.
	storedTimeout = 30 * time.Second
	// storedPause is how long after a failure they are read again.
	storedPause = time.Second
)

// storedNetworks are the networks that the database has, which the node serves beside those of its configuration: from
// when one is created until it is suspended, without a restart. Its goroutine ends in close.
type storedNetworks struct {
	settings *embeddedSettings
	node     *Embedded
	store    *pooledStore
	shared   *engine.Shared
	own      []networks.Member[network] // of the configuration
	logger   *zap.Logger

	// Used by start and then by the goroutine alone.
	open    map[core.NetworkID]openNetwork
	refused map[core.NetworkID]string // why a network is not served, which was logged

	stop func()
	done chan struct{}
}

// openNetwork is a network as of its record.
type openNetwork struct {
	updated time.Time
	member  networks.Member[network]
}

func newStoredNetworks(
	e *embeddedSettings, n *Embedded, store *pooledStore, shared *engine.Shared, own []networks.Member[network],
) *storedNetworks {
	return &storedNetworks{
		settings: e, node: n, store: store, shared: shared, own: own, logger: logging.Current("talos.storage"),
		open: map[core.NetworkID]openNetwork{}, refused: map[core.NetworkID]string{}, done: make(chan struct{}),
	}
}

// start serves all networks, and then follows their changes.
func (s *storedNetworks) start(ctx context.Context) error {
	seen := s.seen()
	if err := s.load(ctx); err != nil {
		return err
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	go s.run(ctx, seen)
	return nil
}

// seen counts the changes after which the networks have to be read again.
func (s *storedNetworks) seen() uint64 {
	p := s.store.Positions()
	return p.Changed(feed.EventNetworkChanged) + p.Changed(feed.EventRestored)
}

func (s *storedNetworks) run(ctx context.Context, seen uint64) {
	defer close(s.done)
	for {
		applied := s.store.Positions().Applied()
		if now := s.seen(); now != seen {
			if err := s.reload(ctx); err != nil {
				if ctx.Err() != nil {
					return
				}
				s.logger.Warn("the networks in the database cannot be read; those from before are served",
					zap.Error(err))
				select {
				case <-time.After(storedPause):
				case <-ctx.Done():
					return
				}
				continue
			}
			seen = now
		}
		if s.store.Positions().AwaitAfter(ctx, applied) != nil {
			return
		}
	}
}

func (s *storedNetworks) reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storedTimeout)
	defer cancel()
	return s.load(ctx)
}

// load reads the networks, and serves them in place of those from before. One that cannot be served is left out, and
// the log says why.
func (s *storedNetworks) load(ctx context.Context) error {
	stored, err := s.store.Networks(ctx)
	if err != nil {
		return fmt.Errorf("reading the networks: %w", err)
	}
	open := map[core.NetworkID]openNetwork{}
	var members []networks.Member[network]
	for i := range stored {
		n := &stored[i]
		one, err := s.openOne(ctx, n)
		switch {
		case err != nil && (ctx.Err() != nil || isTransient(err)):
			return fmt.Errorf("network %s: %w", n.ID, err)
		case err != nil:
			s.refuse(n, err)
		default:
			delete(s.refused, n.ID)
		}
		if one.member.Value != nil {
			open[n.ID] = one
		}
		// The hosts of one that is not served are not those of another network meanwhile.
		members = append(members, networks.Member[network]{ID: n.ID, Hosts: n.Hosts, Value: one.member.Value})
	}
	members = append(members, s.own...)
	var ids []core.NetworkID
	for i := range members {
		if members[i].Value != nil {
			ids = append(ids, members[i].ID)
		}
	}
	s.open = open
	s.node.networks.Replace(members)
	return s.node.deliver(ctx, s.settings.webhooks, ids)
}

// isTransient reports whether the database may answer differently in a moment.
func isTransient(err error) bool {
	reason := core.ReasonOf(err)
	return reason == core.Unavailable || reason == core.DeadlineExceeded
}

// openOne is a network ready to be served, as it is unless its record has changed; without a value if it is suspended.
func (s *storedNetworks) openOne(ctx context.Context, n *core.Network) (openNetwork, error) {
	if n.Suspended {
		return openNetwork{}, nil
	}
	if one, ok := s.open[n.ID]; ok && one.updated.Equal(n.UpdateTime) {
		return one, nil
	}
	settings, err := s.settings.ofStored(n)
	if err != nil {
		return openNetwork{}, err
	}
	if err := s.checkOwn(settings); err != nil {
		return openNetwork{}, err
	}
	if err := s.settings.sealStored(ctx, settings); err != nil {
		return openNetwork{}, err
	}
	own, err := s.settings.openNetwork(ctx, settings, s.store, s.shared)
	if err != nil {
		return openNetwork{}, err
	}
	s.logger.Info("a network of the database is served", zap.Stringer("network", n.ID), zap.Strings("hosts", n.Hosts))
	return openNetwork{n.UpdateTime, s.node.member(settings, own)}, nil
}

// checkOwn refuses a network that has an id or a host of one of the configuration's.
func (s *storedNetworks) checkOwn(n *networkSettings) error {
	seen := newTaken()
	for _, m := range s.own {
		seen.ids[m.ID] = true
		for _, host := range m.Hosts {
			seen.hosts[host] = true
		}
	}
	if seen.ids[n.id] {
		return errors.New("the configuration has a network with this id")
	}
	for _, host := range n.hosts {
		if seen.hosts[host] {
			return fmt.Errorf("the host %s is that of a network of the configuration", host)
		}
	}
	return nil
}

func (s *storedNetworks) refuse(n *core.Network, err error) {
	if s.refused[n.ID] != err.Error() {
		s.refused[n.ID] = err.Error()
		s.logger.Error("a network of the database is not served", zap.Stringer("network", n.ID), zap.Error(err))
	}
}

func (s *storedNetworks) close() {
	s.stop()
	<-s.done
}

// ofStored are the settings of a network that the database has.
func (e *embeddedSettings) ofStored(n *core.Network) (*networkSettings, error) {
	options, err := CheckNetwork(n)
	if err != nil {
		return nil, err
	}
	settings := &networkSettings{id: n.ID, hosts: n.Hosts}
	merged := options.over(&e.defaults)
	if err := settings.resolve(&merged, e.clockSkew); err != nil {
		return nil, err
	}
	return settings, nil
}

// CheckNetwork checks a network for the database, and returns its settings: those of [KeyOptions] but for secrets,
// which are not kept there. Its hosts have to be as [networks.ParseHost] returns them.
func CheckNetwork(n *core.Network) (*KeyOptions, error) {
	switch {
	case n.ID == core.NetworkID{} || n.ID == core.SystemNetwork:
		return nil, fmt.Errorf("%s cannot be the id of a network in the database", n.ID)
	case len(n.Hosts) == 0:
		return nil, errors.New("a host is required")
	case len(n.Hosts) > maxHosts:
		return nil, fmt.Errorf("at most %d hosts are possible", maxHosts)
	}
	for _, host := range n.Hosts {
		if canonical, err := networks.ParseHost(host); err != nil || canonical != host {
			return nil, fmt.Errorf("%q is not a host in its canonical form", host)
		}
	}
	options := new(KeyOptions)
	if len(n.Settings) == 0 {
		return options, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(n.Settings))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(options); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	if options.HMACSecret != "" || len(options.RetiredHMACSecrets) > 0 || options.SigningKeys != "" {
		return nil, errors.New("settings: secrets are not kept in the database; they are those of the node")
	}
	return options, new(networkSettings).resolve(options, 0)
}
