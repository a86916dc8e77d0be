package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	selectNodes = `SELECT id, address, version, position, edges, seen FROM nodes ORDER BY id`
	upsertNode  = `INSERT INTO nodes (id, address, version, position, edges, seen) VALUES ($1, $2, $3, $4, $5, $6) ` +
		`ON CONFLICT (id) DO UPDATE SET address = $2, version = $3, position = $4, edges = $5, seen = $6`
	deleteNode    = `DELETE FROM nodes WHERE id = $1`
	deleteNodes   = `DELETE FROM nodes WHERE seen < $1 AND seen > 0`
	selectAwaited = `SELECT awaited FROM feed`
	updateAwaited = `UPDATE feed SET awaited = $1 WHERE awaited < $1`
)

// forgetNodes is after what time the record of a node is removed that was not heard of. One whose time is that of the
// Unix epoch stays: package confirm leaves it for the next process.
const forgetNodes = time.Hour

// SaveNode records how far a process has come, and removes the records of processes that have ended long ago.
func (c Changes) SaveNode(ctx context.Context, n core.NodeState) error {
	n = shifted(n, c.group.Dialect.ahead())
	edges, err := encodeList(n.Edges)
	if err != nil {
		return core.WrapError(core.Internal, "the edges could not be stored", err)
	}
	return c.group.do(ctx, func(ctx context.Context, w *Writer) error {
		if _, err := w.noNodes.Exec(ctx, n.Seen.Add(-forgetNodes).UnixMicro()); err != nil {
			return err
		}
		_, err := w.node.Exec(ctx, n.ID, n.Address, n.Version,
			int64(n.Position), edges, n.Seen.UnixMicro()) //nolint:gosec // a position was read from an int64
		return err
	})
}

// RemoveNode removes the record of a process.
func (c Changes) RemoveNode(ctx context.Context, id string) error {
	return c.group.do(ctx, func(ctx context.Context, w *Writer) error {
		_, err := w.noNode.Exec(ctx, id)
		return err
	})
}

// AwaitNodes says that somebody waits until a moment for processes to record each change.
func (c Changes) AwaitNodes(ctx context.Context, until time.Time) error {
	return c.group.do(ctx, func(ctx context.Context, w *Writer) error {
		_, err := w.awaited.Exec(ctx, until.Add(w.dialect.ahead()).UnixMicro())
		return err
	})
}

// shifted is the state of a process with its times by another clock. The Unix epoch is no time, see forgetNodes.
func shifted(n core.NodeState, by time.Duration) core.NodeState {
	if by == 0 {
		return n
	}
	if n.Seen.UnixMicro() > 0 {
		n.Seen = n.Seen.Add(by)
	}
	n.Edges = slices.Clone(n.Edges)
	for i := range n.Edges {
		n.Edges[i].Seen = n.Edges[i].Seen.Add(by)
	}
	return n
}

// Nodes returns what processes have recorded.
func (r Reads) Nodes(ctx context.Context) (nodes []core.NodeState, awaited time.Time, err error) {
	err = r.guard(ctx, func(ctx context.Context) error {
		var micros int64
		if _, err := One(ctx, r.feed.awaited, []any{&micros}); err != nil {
			return err
		}
		ahead := r.reader.dialect.ahead()
		awaited = time.UnixMicro(micros).Add(-ahead).UTC()
		nodes = nil
		return each(ctx, r.feed.nodes, func(rows Rows) error {
			n, err := readNode(rows)
			nodes = append(nodes, shifted(n, -ahead))
			return err
		})
	})
	return nodes, awaited, err
}

func readNode(rows Rows) (n core.NodeState, err error) {
	var (
		seq, seen int64
		edges     string
	)
	if err := rows.Scan(&n.ID, &n.Address, &n.Version, &seq, &edges, &seen); err != nil {
		return n, err
	}
	n.Seen = time.UnixMicro(seen).UTC()
	if n.Position, err = position(seq); err != nil {
		return n, err
	}
	if n.Edges, err = decodeList[feed.Edge](edges); err != nil {
		return n, fmt.Errorf("read the edges of node %q: %w", n.ID, err)
	}
	return n, nil
}
