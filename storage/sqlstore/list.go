package sqlstore

import (
	"context"
	"fmt"
	"math"

	"github.com/talos-edge/talos-edge/core"
)

// lists are the statements that list keys: of any actor or of one, whenever used or not since a moment, in any state or
// in one. Each walks an index from the last key of the page before, so a late page costs
// no more than the first one.
type lists [2][2][core.StatusExpired + 1]Statement

// statements are the queries of lists. Parameters: network, kind, cursor, limit, then the actor, the
// bound of the last use and the moment, as far as the query has them.
func (l *lists) statements() []statement {
	var all []statement
	for actor := range l {
		for used := range l[actor] {
			for status := range l[actor][used] {
				where := listCondition(actor == 1, used == 1, core.Status(status))
				all = append(all, statement{&l[actor][used][status],
					`SELECT ` + keyColumns + ` FROM keys WHERE ` + where + ` ORDER BY created_seq LIMIT $4`})
			}
		}
	}
	return all
}

// listCondition is the condition of a list's query.
func listCondition(actor, used bool, status core.Status) string {
	where, state, next := "network = $1 AND kind = $2 AND created_seq > $3", "status", 5
	if actor {
		where += fmt.Sprintf(" AND actor_id = $%d", next)
		// With the +, no index is chosen for the status: an actor's keys are few, those in a state many.
		state, next = "+status", next+1
	}
	if used {
		where += fmt.Sprintf(" AND (last_used_time IS NULL OR last_used_time < $%d)", next)
		next++
	}
	switch status {
	case core.StatusUnknown:
	case core.StatusRevoked:
		where += fmt.Sprintf(" AND %s = %d", state, core.StatusRevoked)
	case core.StatusActive:
		where += fmt.Sprintf(" AND %s = %d AND (expire_time IS NULL OR expire_time > $%d)",
			state, core.StatusActive, next)
	case core.StatusExpired:
		where += fmt.Sprintf(" AND %s = %d AND expire_time <= $%d", state, core.StatusActive, next)
	}
	return where
}

// List returns a page of keys, as [core.Store] says.
func (r *Reader) List(ctx context.Context, q core.ListQuery) (core.KeyPage, error) {
	switch {
	case q.Limit < 1, q.Limit == math.MaxInt, q.Kind == core.AnyKind, q.Status > core.StatusExpired:
		return core.KeyPage{}, core.NewError(core.Internal, "a list of keys was asked for that there is not")
	case q.After > math.MaxInt64:
		return core.KeyPage{}, nil // behind the last
	}
	// One more than was asked for: whether there is one reports whether this page is the last.
	args := []any{q.Network[:], int64(q.Kind), int64(q.After), q.Limit + 1}
	actor, used := 0, 0
	if q.ActorID != "" {
		actor = 1
		args = append(args, q.ActorID)
	}
	if !q.UsedBefore.IsZero() {
		used = 1
		args = append(args, q.UsedBefore.UnixMicro())
	}
	if q.Status == core.StatusActive || q.Status == core.StatusExpired {
		args = append(args, q.Now.UnixMicro())
	}
	var (
		page core.KeyPage
		row  keyRow
	)
	targets := row.targets()
	err := each(ctx, r.lists[actor][used][q.Status], func(rows Rows) error {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		if len(page.Keys) == q.Limit {
			page.Next = page.Keys[q.Limit-1].Sequence
			return nil
		}
		k, err := row.key(q.Network)
		if err != nil {
			return err
		}
		page.Keys = append(page.Keys, k)
		return nil
	}, args...)
	if err != nil {
		return core.KeyPage{}, err
	}
	return page, nil
}
