package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/internal/schema"
)

// State is what a database says of itself, for tools that look at it and change nothing.
type State struct {
	// The versions of the schema, as of [schema.Schema]; Version 0: there is none.
	Version, Newest, Oldest int64

	Keys     int64
	Position uint64    // of the last change in the feed; 0: there is none
	Changed  time.Time // when the last change was made; zero: there is none

	// Prefixes are how many issued keys are not revoked, of all networks, by prefix and in the prefixes' order. There
	// are none before a schema that counts them.
	Prefixes []core.PrefixCount

	// Checks are the check values of the HMAC secrets that the keys of each network were made with. A network that was
	// never served has none.
	Checks map[core.NetworkID]string

	Files []string // that the database consists of at the moment, the main one first
}

// Schema is the version of the schema in the form that [schema.Schema.Check] judges.
func (s *State) Schema() schema.Schema {
	return schema.Schema{Version: s.Version, Newest: s.Newest, Oldest: s.Oldest}
}

const (
	selectVersion = `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`
	selectNewest  = `SELECT seq, time FROM events ORDER BY seq DESC LIMIT 1`
	countKeys     = `SELECT COUNT(*) FROM keys`
	sumPrefixes   = `SELECT prefix, SUM(keys) FROM issued_prefixes WHERE keys > 0 GROUP BY prefix ORDER BY prefix`
	selectChecks  = `SELECT network, check_value FROM secrets`
)

// prefixesVersion is the version of the schema that begins to count keys by prefix.
const prefixesVersion = 3

// Querier is where queries are made: a [*sql.DB], [*sql.Conn] or [*sql.Tx].
type Querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// ReadState fills in what the tables of a database say, which has that of the schema's version. Of a schema that is
// newer than this build's it reads the version only.
func ReadState(ctx context.Context, q Querier, s *State) (err error) {
	if err := q.QueryRowContext(ctx, selectVersion).Scan(&s.Version); err != nil {
		return err
	}
	if s.Version > s.Newest {
		if err := q.QueryRowContext(ctx, schema.SelectOldest).Scan(&s.Oldest); err != nil {
			return err
		}
	}
	if now := s.Schema(); s.Version == 0 || !now.Readable() {
		return nil
	}
	if err := q.QueryRowContext(ctx, countKeys).Scan(&s.Keys); err != nil {
		return err
	}
	var seq, micros int64
	switch err := q.QueryRowContext(ctx, selectNewest).Scan(&seq, &micros); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	default:
		s.Changed = time.UnixMicro(micros).UTC()
		if s.Position, err = position(seq); err != nil {
			return err
		}
	}
	if s.Version >= prefixesVersion {
		if s.Prefixes, err = readPrefixes(ctx, q); err != nil {
			return err
		}
	}
	s.Checks, err = ReadChecks(ctx, q)
	return err
}

func readPrefixes(ctx context.Context, q Querier) (counts []core.PrefixCount, err error) {
	err = query(ctx, q, sumPrefixes, func(rows Rows) error {
		var c core.PrefixCount
		err := rows.Scan(&c.Prefix, &c.Keys)
		counts = append(counts, c)
		return err
	})
	return counts, err
}

// ReadChecks reads the check values of HMAC secrets, by network, from a database that has the table secrets.
func ReadChecks(ctx context.Context, q Querier) (map[core.NetworkID]string, error) {
	checks := map[core.NetworkID]string{}
	err := query(ctx, q, selectChecks, func(rows Rows) error {
		var (
			network []byte
			check   string
		)
		if err := rows.Scan(&network, &check); err != nil {
			return err
		}
		id, err := uuid.FromBytes(network)
		if err != nil {
			return fmt.Errorf("read the check value of a secret: %w", err)
		}
		checks[id] = check
		return nil
	})
	return checks, err
}

// query calls row for each row that a query returns.
func query(ctx context.Context, q Querier, text string, row func(Rows) error) error {
	rows, err := q.QueryContext(ctx, text) //nolint:rowserrcheck // eachOf checks it
	if err != nil {
		return err
	}
	return eachOf(rows, row)
}
