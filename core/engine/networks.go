package engine

import (
	"context"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// Networks is a source of verdicts over the engines of several networks in one store: each query goes to the engine of
// its network and to no other.
type Networks struct {
	find  func(core.NetworkID) *Engine
	store core.Store
}

// NewNetworks makes a source. find returns the engine of a network, or nil; it may be called at any time from any
// goroutine. The store is that of all engines, and stays the caller's to close.
func NewNetworks(store core.Store, find func(core.NetworkID) *Engine) *Networks {
	return &Networks{find: find, store: store}
}

// Prepare is [Engine.Prepare] of the network. In a network that is not known no credential is a key.
func (n *Networks) Prepare(network core.NetworkID, cred string) (q core.Query, final *core.Verdict) {
	if e := n.find(network); e != nil {
		return e.Prepare(network, cred)
	}
	return core.Query{Network: network, Credential: cred}, core.Unknown(network, "", core.UnknownCredentialType)
}

// Lookup is [Engine.Lookup] of the queries' network, which is the same for all. The network may have gone since
// Prepare.
func (n *Networks) Lookup(ctx context.Context, queries []core.Query) ([]core.LookupResult, error) {
	if e := n.find(queries[0].Network); e != nil {
		return e.Lookup(ctx, queries)
	}
	return nil, core.NewError(core.Unavailable, "the network is not served any more")
}

// Limits are the defaults.
func (*Networks) Limits() core.LookupLimits { return core.LookupLimits{} }

// Admit returns nil: the store may always be asked.
func (*Networks) Admit() error { return nil }

// Positions is the table of the store's changes, of all networks.
func (n *Networks) Positions() *feed.Positions { return n.store.Positions() }
