package sqlstore

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// keyColumns are the columns that make a [core.Key], in the order of [keyRow]. The network is not among them: whoever
// reads names it.
const keyColumns = `created_seq, key_id, kind, name, actor_id, scopes, metadata, visibility, allowed_cidrs, ` +
	`request_id, rate_quota, rate_unit, rate_window, ` +
	`status, revocation_reason, revocation_description, create_time, update_time, expire_time, prefix, ` +
	`suspend_time, predecessor_key_id, successor_key_id, lineage_id, last_used_time`

// keyRow is a key as its columns hold it.
type keyRow struct {
	id, name, actor, scopes, metadata, cidrs, requestID, description string
	rateUnit, prefix, predecessor, successor, lineage                string
	rateQuota, rateWindow                                            int64
	sequence                                                         int64
	kind, visibility, status, reason                                 int64
	created, updated                                                 int64
	expires, suspended, used                                         sql.NullInt64
}

// targets are what [sql.Rows.Scan] fills, in the order of keyColumns.
func (r *keyRow) targets() []any {
	return []any{
		&r.sequence, &r.id, &r.kind, &r.name, &r.actor, &r.scopes, &r.metadata, &r.visibility, &r.cidrs, &r.requestID,
		&r.rateQuota, &r.rateUnit, &r.rateWindow,
		&r.status, &r.reason, &r.description, &r.created, &r.updated, &r.expires, &r.prefix,
		&r.suspended, &r.predecessor, &r.successor, &r.lineage, &r.used,
	}
}

// values are what an INSERT writes, in the order of keyColumns.
func (r *keyRow) values() []any {
	return []any{
		r.sequence, r.id, r.kind, r.name, r.actor, r.scopes, r.metadata, r.visibility, r.cidrs, r.requestID,
		r.rateQuota, r.rateUnit, r.rateWindow,
		r.status, r.reason, r.description, r.created, r.updated, r.expires, r.prefix,
		r.suspended, r.predecessor, r.successor, r.lineage, r.used,
	}
}

// arraysOf makes an array for each column of what [keyRow.values] returned of several rows, without the sequence.
func arraysOf(rows [][]any) []any {
	columns := new(keyRow).values()[1:]
	for i, v := range columns {
		switch v.(type) {
		case string:
			columns[i] = arrayOf[string](rows, i)
		case int64:
			columns[i] = arrayOf[int64](rows, i)
		default:
			columns[i] = arrayOfNullable(rows, i)
		}
	}
	return columns
}

func arrayOf[T any](rows [][]any, column int) []T {
	a := make([]T, len(rows))
	for i, row := range rows {
		a[i], _ = row[column].(T)
	}
	return a
}

func arrayOfNullable(rows [][]any, column int) []*int64 {
	a := make([]*int64, len(rows))
	for i, row := range rows {
		if n, _ := row[column].(sql.NullInt64); n.Valid {
			a[i] = &n.Int64
		}
	}
	return a
}

// rowOf makes the row of a key.
func rowOf(k *core.Key) (*keyRow, error) {
	scopes, err := encodeList(k.Scopes)
	if err != nil {
		return nil, fmt.Errorf("encode scopes: %w", err)
	}
	for _, p := range k.AllowedCIDRs {
		if !p.IsValid() {
			return nil, errors.New("encode address ranges: one is not valid")
		}
	}
	cidrs, err := encodeList(k.AllowedCIDRs)
	if err != nil {
		return nil, fmt.Errorf("encode address ranges: %w", err)
	}
	row := &keyRow{
		id: k.ID, name: k.Name, actor: k.ActorID, scopes: scopes, metadata: string(k.Metadata), cidrs: cidrs,
		requestID: k.RequestID, prefix: k.Prefix, description: k.RevocationDescription,
		predecessor: k.PredecessorID, successor: k.SuccessorID, lineage: k.LineageID,
		rateQuota: k.RateLimit.Quota, rateUnit: k.RateLimit.Unit, rateWindow: k.RateLimit.Window.Microseconds(),
		sequence: int64(k.Sequence), //nolint:gosec // a store gave it, or it is 0
		kind:     int64(k.Kind), visibility: int64(k.Visibility),
		status: int64(k.Status), reason: int64(k.RevocationReason),
		created: k.CreateTime.UnixMicro(), updated: k.UpdateTime.UnixMicro(),
		expires: nullTime(k.ExpireTime), suspended: nullTime(k.SuspendTime), used: nullTime(k.LastUsedTime),
	}
	return row, nil
}

// key makes the key of a row. A row that this build cannot read is an error, never a key with something left out: a
// list that were read as empty would let more pass.
func (r *keyRow) key(network core.NetworkID) (core.Key, error) {
	k := core.Key{
		Network: network, ID: r.id, Name: r.name, ActorID: r.actor, RequestID: r.requestID, Prefix: r.prefix,
		RevocationDescription: r.description,
		PredecessorID:         r.predecessor, SuccessorID: r.successor, LineageID: r.lineage,
		RateLimit: core.RateLimitPolicy{
			Quota: r.rateQuota, Unit: r.rateUnit, Window: time.Duration(r.rateWindow) * time.Microsecond,
		},
		CreateTime: time.UnixMicro(r.created).UTC(), UpdateTime: time.UnixMicro(r.updated).UTC(),
	}
	var kind, visibility, status, reason uint8
	for _, e := range []struct {
		to   *uint8
		from int64
		name string
	}{{&kind, r.kind, "kind"}, {&visibility, r.visibility, "visibility"}, {&status, r.status, "status"},
		{&reason, r.reason, "revocation reason"}} {
		if e.from < 0 || e.from > math.MaxUint8 {
			return core.Key{}, fmt.Errorf("read key: %s %d is out of range", e.name, e.from)
		}
		*e.to = uint8(e.from)
	}
	k.Kind, k.Visibility = core.Kind(kind), core.Visibility(visibility)
	k.Status, k.RevocationReason = core.Status(status), core.RevocationReason(reason)
	if r.rateQuota < 0 || r.rateWindow < 0 || r.rateWindow > math.MaxInt64/int64(time.Microsecond) {
		return core.Key{}, errors.New("read key: the rate limit is out of range")
	}
	var err error
	if k.Sequence, err = position(r.sequence); err != nil {
		return core.Key{}, fmt.Errorf("read key: %w", err)
	}
	if k.Scopes, err = decodeList[string](r.scopes); err != nil {
		return core.Key{}, fmt.Errorf("read key: scopes: %w", err)
	}
	if k.AllowedCIDRs, err = decodeList[netip.Prefix](r.cidrs); err != nil {
		return core.Key{}, fmt.Errorf("read key: address ranges: %w", err)
	}
	if r.metadata != "" {
		k.Metadata = json.RawMessage(r.metadata)
	}
	k.ExpireTime, k.SuspendTime, k.LastUsedTime = timeOf(r.expires), timeOf(r.suspended), timeOf(r.used)
	return k, nil
}

// nullTime writes a time; the zero one as NULL.
func nullTime(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

// timeOf reads what nullTime wrote.
func timeOf(micros sql.NullInt64) time.Time {
	if !micros.Valid {
		return time.Time{}
	}
	return time.UnixMicro(micros.Int64).UTC()
}

// encodeList writes a list as a JSON array; an empty one as "".
func encodeList[T any](list []T) (string, error) {
	if len(list) == 0 {
		return "", nil
	}
	b, err := json.Marshal(list)
	return string(b), err
}

// decodeList reads what encodeList wrote.
func decodeList[T any](s string) ([]T, error) {
	if s == "" {
		return nil, nil
	}
	var list []T
	if err := json.Unmarshal([]byte(s), &list); err != nil {
		return nil, err
	}
	return list, nil
}
