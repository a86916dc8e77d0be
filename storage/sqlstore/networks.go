package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	networkColumns = `id, hosts, settings, suspended, create_time, update_time`
	selectNetworks = `SELECT ` + networkColumns + ` FROM networks ORDER BY id`
	selectNetwork  = `SELECT ` + networkColumns + ` FROM networks WHERE id = $1`
	selectHost     = `SELECT 1 FROM network_hosts WHERE host = $1`
	insertHost     = `INSERT INTO network_hosts (host, network) VALUES ($1, $2)`
	suspendNetwork = `UPDATE networks SET suspended = $2, update_time = $3 WHERE id = $1`
	insertNetwork  = `INSERT INTO networks (` + networkColumns + `) VALUES ($1, $2, $3, $4, $5, $6)`
)

// CreateNetwork adds a network.
func (c Changes) CreateNetwork(ctx context.Context, n core.Network) error {
	return c.group.do(ctx, func(ctx context.Context, w *Writer) error { return w.CreateNetwork(ctx, &n) })
}

// SuspendNetwork makes a network unknown to the nodes, or known again.
func (c Changes) SuspendNetwork(
	ctx context.Context, id core.NetworkID, suspended bool, at time.Time,
) (core.Network, error) {
	var changed core.Network
	err := c.group.do(ctx, func(ctx context.Context, w *Writer) (err error) {
		changed, err = w.SuspendNetwork(ctx, id, suspended, at)
		return err
	})
	if err != nil {
		return core.Network{}, err
	}
	return changed, nil
}

// Networks returns the networks of the database.
func (r Reads) Networks(ctx context.Context) (all []core.Network, err error) {
	err = r.guard(ctx, func(ctx context.Context) error {
		all = nil
		return each(ctx, r.reader.networks, func(rows Rows) error {
			n, err := readNetwork(rows)
			all = append(all, n)
			return err
		})
	})
	return all, err
}

// CreateNetwork adds a network, as [core.Store] says.
func (w *Writer) CreateNetwork(ctx context.Context, n *core.Network) error {
	if err := w.lockNetworks(ctx); err != nil {
		return err
	}
	if _, found, err := w.findNetwork(ctx, n.ID); err != nil || found {
		return orConflict(err, "a network with this id exists already")
	}
	for _, host := range n.Hosts {
		var unused int64
		if found, err := One(ctx, w.networkHost, []any{&unused}, host); err != nil || found {
			return orConflict(err, "the host "+host+" is another network's")
		}
	}
	hosts, err := encodeList(n.Hosts)
	if err != nil {
		return err
	}
	_, err = w.newNetwork.Exec(ctx, n.ID[:], hosts, string(n.Settings), flag(n.Suspended), n.CreateTime.UnixMicro(),
		n.CreateTime.UnixMicro())
	if err != nil {
		return err
	}
	for _, host := range n.Hosts {
		if _, err := w.newHost.Exec(ctx, host, n.ID[:]); err != nil {
			return err
		}
	}
	w.addNetwork(ctx, n.ID, n.CreateTime)
	return nil
}

// SuspendNetwork changes whether a network is suspended, as [core.Store] says.
func (w *Writer) SuspendNetwork(
	ctx context.Context, id core.NetworkID, suspended bool, at time.Time,
) (core.Network, error) {
	if err := w.lockNetworks(ctx); err != nil {
		return core.Network{}, err
	}
	n, found, err := w.findNetwork(ctx, id)
	switch {
	case err != nil:
		return core.Network{}, err
	case !found:
		return core.Network{}, core.NewError(core.NotFound, "the database has no network with this id")
	case n.Suspended == suspended:
		return n, nil
	}
	if _, err := w.setNetwork.Exec(ctx, id[:], flag(suspended), at.UnixMicro()); err != nil {
		return core.Network{}, err
	}
	n.Suspended, n.UpdateTime = suspended, time.UnixMicro(at.UnixMicro()).UTC()
	w.addNetwork(ctx, id, at)
	return n, nil
}

// lockNetworks keeps other transactions from changing networks: what is free then stays so.
func (w *Writer) lockNetworks(ctx context.Context) error {
	if w.quota == nil {
		return nil
	}
	_, err := w.quota.Exec(ctx, core.SystemNetwork[:])
	return err
}

// addNetwork adds the event of a change of a network, which belongs to no network.
func (w *Writer) addNetwork(ctx context.Context, id core.NetworkID, at time.Time) {
	w.add(ctx, &core.Key{Network: core.SystemNetwork, ID: id.String()}, feed.EventNetworkChanged, at)
}

func (w *Writer) findNetwork(ctx context.Context, id core.NetworkID) (n core.Network, found bool, err error) {
	err = each(ctx, w.network, func(rows Rows) error {
		found = true
		n, err = readNetwork(rows)
		return err
	}, id[:])
	return n, found, err
}

func readNetwork(rows Rows) (n core.Network, err error) {
	var (
		id                          []byte
		hosts, settings             string
		suspended, created, updated int64
	)
	if err := rows.Scan(&id, &hosts, &settings, &suspended, &created, &updated); err != nil {
		return n, err
	}
	if n.ID, err = uuid.FromBytes(id); err != nil {
		return n, fmt.Errorf("read network: %w", err)
	}
	if n.Hosts, err = decodeList[string](hosts); err != nil {
		return n, fmt.Errorf("read network %s: %w", n.ID, err)
	}
	n.Settings, n.Suspended = json.RawMessage(settings), suspended != 0
	n.CreateTime, n.UpdateTime = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	return n, nil
}

func orConflict(err error, message string) error {
	if err != nil {
		return err
	}
	return core.NewError(core.Conflict, message)
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}
