package feed

import (
	"time"

	"github.com/google/uuid"
)

// Edge is a reader of the feed that acknowledges the changes that it has applied.
type Edge struct {
	ID       string    `json:"id"`
	Instance string    `json:"instance,omitempty"` // distinguishes processes that have the same ID
	Address  string    `json:"address,omitempty"`
	Version  string    `json:"version,omitempty"`
	Via      string    `json:"via,omitempty"` // the ID of the node or sidecar that it reads from; empty: this node
	Position uint64    `json:"position"`      // all changes up to it are applied there
	Seen     time.Time `json:"seen"`          // when it was last heard of

	// Network is a core.NetworkID: whose changes it reads. Of a node, which reads those of all networks, it is zero.
	Network uuid.UUID `json:"network,omitzero"`
}
