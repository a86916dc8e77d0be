package adminapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
)

// useReport is a report of uses as it is read.
type useReport struct {
	EdgeID   string          `json:"edge_id"`
	LastUsed json.RawMessage `json:"last_used"`
}

// reportUses notes the last uses of keys that an edge has seen. They are written later, with those that this node has
// seen itself; whether there are such keys turns out then. All items are noted, or none.
func reportUses(s *surface, w http.ResponseWriter, r *http.Request, n Network, _ string) error {
	var in useReport
	if err := body.Decode(w, r, maxBody, &in); err != nil {
		return err
	}
	if in.EdgeID != "" && !client.ValidEdgeID(in.EdgeID) {
		return core.NewError(core.BadRequest,
			fmt.Sprintf("edge_id: must have 1 to %d printable characters and no comma", client.MaxEdgeID))
	}
	uses, err := usesOf(n.ID, in.LastUsed)
	if err != nil {
		return err
	}
	if n.Used != nil {
		for _, u := range uses {
			n.Used(u)
		}
	}
	s.Logger.Debug("an edge reported the uses of keys", zap.String("edge_id", in.EdgeID), zap.Int("keys", len(uses)))
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

// usesOf reads the uses of a report. A time that lies ahead, by a clock that does, is now.
func usesOf(network core.NetworkID, items json.RawMessage) ([]core.Use, error) {
	var list body.List[client.Use]
	if len(items) > 0 && json.Unmarshal(items, &list) != nil {
		return nil, core.NewError(core.BadRequest, "last_used: must be an array of objects with a key_id and a time "+
			"such as 2026-01-02T15:04:05Z")
	}
	if list.Over {
		return nil, core.NewError(core.BadRequest, fmt.Sprintf("last_used: must hold at most %d items", client.MaxUses))
	}
	now := time.Now()
	uses := make([]core.Use, len(list.Items))
	for i, item := range list.Items {
		switch {
		case !core.ValidKeyID(item.KeyID):
			return nil, core.NewError(core.BadRequest, fmt.Sprintf("last_used[%d].key_id: must be the id of a key", i))
		case item.Time.IsZero():
			return nil, core.NewError(core.BadRequest, fmt.Sprintf("last_used[%d].time: must be given", i))
		case item.Time.After(now):
			item.Time = now
		}
		uses[i] = core.Use{Network: network, KeyID: item.KeyID, Time: item.Time}
	}
	return uses, nil
}
