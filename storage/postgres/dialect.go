package postgres

import (
	"time"

	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// appendEvents locks the counter of positions until the end of the transaction.
const appendEvents = `WITH at AS (UPDATE feed_last SET last = last + $13 RETURNING last), ` +
	`written AS (INSERT INTO events (seq, network, key_id, key_kind, actor_id, kind, time, reason, related_key_id, ` +
	`caller_kind, caller_id, caller_user, request_id) ` +
	`SELECT at.last - $13 + e.nr, e.network, e.key_id, e.key_kind, e.actor_id, e.kind, e.time, e.reason, ` +
	`e.related_key_id, e.caller_kind, e.caller_id, e.caller_user, e.request_id ` +
	`FROM at, unnest($1::bytea[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], ` +
	`$8::text[], $9::bigint[], $10::text[], $11::text[], $12::text[]) WITH ORDINALITY ` +
	`AS e(network, key_id, key_kind, actor_id, kind, time, reason, related_key_id, caller_kind, caller_id, ` +
	`caller_user, request_id, nr) RETURNING seq) ` +
	`SELECT max(seq) FROM written`

// dialect is PostgreSQL's. ahead is how much later the database's clock is than this process's.
func dialect(ahead func() time.Duration) *sqlstore.Dialect {
	return &sqlstore.Dialect{
		Begin:  "BEGIN",
		Locked: " FOR UPDATE",
		LockQuota: "INSERT INTO quotas (network) VALUES ($1) " +
			"ON CONFLICT (network) DO UPDATE SET network = excluded.network",
		KeyIDIn:      "key_id = ANY($2)",
		KeyIDs:       func(ids []string) (any, error) { return ids, nil },
		Sequence:     "COALESCE(NULLIF($2::bigint, 0), nextval('keys_created_seq'))",
		AppendEvents: appendEvents,
		Arrays:       true,
		Ahead:        ahead,
		Translate:    translate,
		FailsAlone:   isRefusal,
		Busy:         isBusy,
		Unknown:      isUnknown,
	}
}
