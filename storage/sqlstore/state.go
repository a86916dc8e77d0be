package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
)

// State is what a database says of itself, for tools that look at it and change nothing.
type State struct {
	Version, Newest int64 // of the schema, and the newest one that this build knows; Version 0: there is no schema

	Keys     int64
	Position uint64    // of the last change in the feed; 0: there is none
	Changed  time.Time // when the last change was made; zero: there is none

	// Checks are the check values of the HMAC secrets that the keys of each network were made with. A network that was
	// never served has none.
	Checks map[core.NetworkID]string

	Files []string // that the database consists of at the moment, the main one first
}

// Schema is the version of the schema in the form that [Schema.Check] judges.
func (s *State) Schema() Schema { return Schema{Version: s.Version, Newest: s.Newest} }

const (
	selectHasSchema = `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'`
	selectVersion   = `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`
	selectNewest    = `SELECT seq, time FROM events ORDER BY seq DESC LIMIT 1`
	countKeys       = `SELECT COUNT(*) FROM keys`
	selectChecks    = `SELECT network, check_value FROM secrets`
)

// Querier is where queries are made: a [*sql.DB], [*sql.Conn] or [*sql.Tx].
type Querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// ReadState fills in what the tables of a database say. Of a schema that is newer than this build's it reads the
// version only.
func ReadState(ctx context.Context, q Querier, s *State) error {
	var tables int
	if err := q.QueryRowContext(ctx, selectHasSchema).Scan(&tables); err != nil || tables == 0 {
		return err
	}
	if err := q.QueryRowContext(ctx, selectVersion).Scan(&s.Version); err != nil {
		return err
	}
	if s.Version == 0 || s.Version > s.Newest {
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
	return readChecks(ctx, q, s)
}

func readChecks(ctx context.Context, q Querier, s *State) (err error) {
	rows, err := q.QueryContext(ctx, selectChecks)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	s.Checks = map[core.NetworkID]string{}
	for rows.Next() {
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
		s.Checks[id] = check
	}
	return rows.Err()
}
