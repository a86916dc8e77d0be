package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The headers of an edge that follows the change feed, in a request for events. Other implementations of the API know
// none of them.
const (
	// EdgeIDHeader names the edge. The request then acknowledges its position: all changes up to it are applied.
	EdgeIDHeader = "Talos-Edge-Id"
	// EdgeInstanceHeader distinguishes processes that have the same name, at most MaxEdgeID characters.
	EdgeInstanceHeader = "Talos-Edge-Instance"
	// EdgeLeavesHeader with the value 1 says that the edge ends: nobody waits for it any more.
	EdgeLeavesHeader = "Talos-Edge-Leaves"
	// EdgeViaHeader names the sidecar that the request came through.
	EdgeViaHeader = "Talos-Edge-Via"
)

// MaxEdgeID is the length of the longest name of an edge, in bytes.
const MaxEdgeID = 64

// ValidEdgeID reports whether a text can name an edge: 1 to [MaxEdgeID] printable ASCII characters without spaces at
// the ends and without commas, which separate names.
func ValidEdgeID(id string) bool {
	if id == "" || len(id) > MaxEdgeID || id[0] == ' ' || id[len(id)-1] == ' ' {
		return false
	}
	for _, c := range []byte(id) {
		if c < ' ' || c > '~' || c == ',' {
			return false
		}
	}
	return true
}

// MinPositionHeader names a position of the change feed that an answer to a verification must not be older than.
const MinPositionHeader = "Talos-Min-Position"

// MinPosition makes a verification fail rather than be older than a position of the change feed.
func MinPosition(position uint64) CallOption {
	return Header(MinPositionHeader, strconv.FormatUint(position, 10))
}

// EdgeState is one reader of the change feed that acknowledges what it has applied: a sidecar, or another process on
// the server's database.
type EdgeState struct {
	EdgeID       string    `json:"edge_id"`
	Address      string    `json:"address,omitempty"`
	Version      string    `json:"version,omitempty"`
	Position     Position  `json:"position"` // all changes up to it are applied there
	Lag          Int64     `json:"lag"`      // how many positions that is behind the server
	LastSeenTime time.Time `json:"last_seen_time"`
	Via          string    `json:"via,omitempty"`  // the sidecar or node that it reads through; empty: the server
	Gone         bool      `json:"gone,omitempty"` // it was not heard of for a minute, so nobody waits for it
}

// EdgesResponse is the answer with all edges, the ones that were not heard of for ten minutes left out.
type EdgesResponse struct {
	Edges    []EdgeState `json:"edges"`
	Position Position    `json:"position"` // of the last change that the server has applied
}

// Edges lists the readers of the change feed that acknowledge what they have applied.
func (c *Client) Edges(ctx context.Context, opts ...CallOption) (*EdgesResponse, error) {
	return call[EdgesResponse](ctx, c, http.MethodGet, adminPath+"/edges", nil, opts)
}

// The headers of the response to a change that was made with [Wait].
const (
	ConfirmedHeader        = "Talos-Confirmed"         // how many edges have applied the change
	UnconfirmedHeader      = "Talos-Unconfirmed"       // how many have not
	UnconfirmedEdgesHeader = "Talos-Unconfirmed-Edges" // the names of up to ten of those
)

// Confirmation is who has applied a change.
type Confirmation struct {
	Confirmed   int
	Unconfirmed int
	Names       []string // of up to ten edges that have not
	Known       bool     // the server has said so; another implementation of the API does not
}

// Wait delays the answer to a change until every live edge has applied it, for at most 30 s; the change is made in any
// case. The client's timeout has to be longer. out is set when the answer arrives; of a call that makes several,
// as when there are many keys, it is that of the last one.
func Wait(d time.Duration, out *Confirmation) CallOption {
	return func(r *request) {
		separator := "?"
		if strings.Contains(r.path, "?") {
			separator = "&"
		}
		r.path += separator + "wait=" + url.QueryEscape(d.String())
		r.answers = append(r.answers, func(h http.Header) { *out = readConfirmation(h) })
	}
}

func readConfirmation(h http.Header) (c Confirmation) {
	var err error
	if c.Confirmed, err = strconv.Atoi(h.Get(ConfirmedHeader)); err != nil {
		return Confirmation{}
	}
	if c.Unconfirmed, err = strconv.Atoi(h.Get(UnconfirmedHeader)); err != nil {
		return Confirmation{}
	}
	if names := h.Get(UnconfirmedEdgesHeader); names != "" {
		c.Names = strings.Split(names, ", ")
	}
	c.Known = true
	return c
}

// ChangedKeys asks which keys a revocation of a lineage was about. out gets their ids, or [AnyKey] if they are very
// many. It stays empty if the server does not say: another implementation has revoked the named key only.
func ChangedKeys(out *[]string) CallOption {
	return func(r *request) {
		r.header.Set(EdgeHeader, "1")
		r.answers = append(r.answers, func(h http.Header) {
			if ids := h.Get(ChangedKeysHeader); ids != "" {
				*out = strings.Split(ids, ",")
			}
		})
	}
}
