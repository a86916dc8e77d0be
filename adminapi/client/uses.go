package client

import (
	"context"
	"net/http"
	"time"
)

// MaxUses is how many uses a report may hold.
const MaxUses = 1000

// Use is the last use of a key that an edge has seen.
type Use struct {
	KeyID string    `json:"key_id"`
	Time  time.Time `json:"time"`
}

// ReportUseRequest reports the last uses of keys.
type ReportUseRequest struct {
	EdgeID   string `json:"edge_id,omitempty"` // who reports: up to 64 characters
	LastUsed []Use  `json:"last_used"`         // up to [MaxUses]
}

// ReportUse reports the last uses of keys to the server that has the keys. It is the call of an edge. A server that
// knows of a later use keeps that; the report may be made twice.
func (c *Client) ReportUse(ctx context.Context, edgeID string, uses []Use, opts ...CallOption) error {
	_, err := c.Do(ctx, http.MethodPost, adminPath+"/edges:report", ReportUseRequest{EdgeID: edgeID, LastUsed: uses},
		nil, append([]CallOption{Repeatable()}, opts...)...)
	return err
}
