package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/pgtest"
	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// recorder notes the queries that are prepared.
type recorder struct {
	preparer
	queries []string
}

func (r *recorder) Prepare(ctx context.Context, query string) (sqlstore.Statement, error) {
	r.queries = append(r.queries, query)
	return r.preparer.Prepare(ctx, query)
}

// planned is a database with so many keys that the planner has to choose, and the queries that a store makes.
type planned struct {
	*testing.T
	conn    *pgx.Conn
	queries []string
}

func newPlanned(t *testing.T) *planned {
	t.Helper()
	dsn := pgtest.Database(t)
	openAt(t, dsn, Options{})
	execute(t, dsn, manyKeys(20_000))
	c, err := pgx.Connect(t.Context(), dsn+execMode) // what is prepared is prepared by the test
	must(t, err)
	t.Cleanup(func() { discard(c) })
	r := &recorder{}
	d := dialect(nil)
	_, err = sqlstore.NewReader(t.Context(), r, d)
	must(t, err)
	_, err = sqlstore.NewWriter(t.Context(), r, d)
	must(t, err)
	_, err = sqlstore.NewFeed(t.Context(), r)
	must(t, err)
	return &planned{t, c, r.queries}
}

// manyKeys are statements that create keys of a hundred actors, with their events: each fourth was imported, and each
// third is revoked.
func manyKeys(n int) string {
	return fmt.Sprintf(`INSERT INTO keys SELECT decode(repeat('00', 16), 'hex'), 'key-' || lpad(i::text, 12, '0'), i,
		CASE i %% 4 WHEN 0 THEN %d ELSE %d END,
		'a key of an ordinary name', 'user:' || i %% 100, '["orders:read","orders:write"]', '{"tier":"gold"}', %d, '',
		'', 0, '', 0, CASE i %% 3 WHEN 0 THEN %d ELSE %d END, 0, '', i, i, CASE WHEN i %% 10 = 0 THEN i END, '', NULL,
		'', '', '', NULL FROM generate_series(1, %[6]d) AS i;
		INSERT INTO events SELECT i, decode(repeat('00', 16), 'hex'), 'key-' || lpad(i::text, 12, '0'), 1, 'user:' ||
		i %% 100, 1, i, 0, '', 0, '', '', '' FROM generate_series(1, %[6]d) AS i;
		UPDATE feed_last SET last = %[6]d; SELECT setval('keys_created_seq', %[6]d);
		INSERT INTO issued_prefixes
		SELECT network, prefix, count(*) FROM keys WHERE status = 1 AND kind = 1 GROUP BY 1, 2;
		ANALYZE keys; ANALYZE events`, core.Imported, core.Issued, core.VisibilitySecret,
		core.StatusRevoked, core.StatusActive, n)
}

// plan is how PostgreSQL runs a query that is prepared for parameters which it does not know.
func (p *planned) plan(query string) string {
	p.Helper()
	args := make([]string, strings.Count(query, "$"))
	for i := range args {
		args[i] = "NULL"
	}
	_, err := p.conn.Exec(p.Context(),
		"DEALLOCATE ALL; SET plan_cache_mode = force_generic_plan; PREPARE one AS "+query)
	must(p, err)
	n := 0
	must(p, p.conn.QueryRow(p.Context(), "SELECT cardinality(parameter_types) FROM pg_prepared_statements "+
		"WHERE name = 'one'").Scan(&n))
	rows, err := p.conn.Query(p.Context(), "EXPLAIN (COSTS off) EXECUTE one("+strings.Join(args[:n], ",")+")",
		pgx.QueryExecModeSimpleProtocol)
	must(p, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(p, err)
	return strings.Join(lines, "\n")
}

// those returns the queries that have a text.
func (p *planned) those(text string) (found []string) {
	p.Helper()
	for _, q := range p.queries {
		if strings.Contains(q, text) {
			found = append(found, q)
		}
	}
	if len(found) == 0 {
		p.Fatalf("no query has %q", text)
	}
	return found
}

// wantIndex checks that a query walks an index under a condition, and reads and sorts nothing else.
func (p *planned) wantIndex(query, index, condition string) {
	p.Helper()
	plan := p.plan(query)
	for _, want := range []string{" using " + index + " ", condition} {
		if !strings.Contains(plan, want) {
			p.Errorf("%s\n is run as\n%s\nwithout %q", query, plan, want)
		}
	}
	for _, unwanted := range []string{"Seq Scan", "Sort Key", "Bitmap"} {
		if strings.Contains(plan, unwanted) {
			p.Errorf("%s\n is run as\n%s\nwith a %s", query, plan, unwanted)
		}
	}
}

func TestPlan_EachListWalksAnIndexFromThePageBeforeAndSortsNothing(t *testing.T) {
	t.Parallel()
	p := newPlanned(t)
	lists := p.those("ORDER BY created_seq LIMIT")
	for _, query := range lists {
		index := "keys_by_kind"
		switch {
		case strings.Contains(query, "AND actor_id ="):
			index = "keys_by_actor"
		case strings.Contains(query, "AND status ="):
			index = "keys_by_status"
		}
		p.wantIndex(query, index, "created_seq > ")
	}
	if len(lists) != 16 {
		t.Errorf("%d kinds of list, want 16", len(lists))
	}
}

func TestPlan_WhatIsAskedForOftenIsFoundByAnIndex(t *testing.T) {
	t.Parallel()
	p := newPlanned(t)
	for _, tt := range []struct{ query, index, condition string }{
		{"FROM keys WHERE network = $1 AND key_id = $2", "keys_pkey", "key_id = "},
		{"key_id = ANY($2)", "keys_pkey", "key_id = ANY"},
		{"request_id = $3", "keys_request", "request_id = "},
		{"ORDER BY seq LIMIT $2", "events_pkey", "seq > "},
		{"ORDER BY expire_time", "keys_by_expiry", "expire_time >= "},
	} {
		for _, query := range p.those(tt.query) {
			p.wantIndex(query, tt.index, tt.condition)
		}
	}
	for _, query := range p.those("lineage_id = $2") {
		if plan := p.plan(query); !strings.Contains(plan, "keys_by_lineage") || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s\n is run as\n%s", query, plan)
		}
	}
}
