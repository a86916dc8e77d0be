package sqlite

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// recorder notes the queries that are prepared.
type recorder struct {
	*sql.DB
	queries []string
}

func (r *recorder) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	r.queries = append(r.queries, query)
	return r.DB.PrepareContext(ctx, query)
}

// plan is how SQLite would run a query.
func plan(t *testing.T, s *Store, query string) string {
	t.Helper()
	args := make([]any, strings.Count(query, "$"))
	rows, err := s.readers.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "; ")
}

func TestEachListWalksAnIndexFromThePageBeforeAndSortsNothing(t *testing.T) {
	t.Parallel()
	s := openAt(t, newDatabase(t).path, Options{})
	r := &recorder{DB: s.readers}
	reader, err := sqlstore.NewReader(t.Context(), sqlstore.SQLPreparer{On: r}, dialect())
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	lists := 0
	for _, query := range r.queries {
		if !strings.Contains(query, "ORDER BY created_seq") {
			continue
		}
		lists++
		want := "SEARCH keys USING INDEX keys_by_kind (network=? AND kind=? AND created_seq>?)"
		switch {
		case strings.Contains(query, "AND actor_id ="):
			want = "SEARCH keys USING INDEX keys_by_actor (network=? AND kind=? AND actor_id=? AND created_seq>?)"
		case strings.Contains(query, "AND status ="):
			want = "SEARCH keys USING INDEX keys_by_status (network=? AND kind=? AND status=? AND created_seq>?)"
		}
		if got := plan(t, s, query); got != want {
			t.Errorf("%s\n is run as\n%s\nand not as\n%s", query, got, want)
		}
	}
	if lists != 16 {
		t.Errorf("%d kinds of list, want 16", lists)
	}
}

func TestTheKeysOfALineageAreFoundByAnIndex(t *testing.T) {
	t.Parallel()
	s := openAt(t, newDatabase(t).path, Options{})
	r := &recorder{DB: s.readers}
	writer, err := sqlstore.NewWriter(t.Context(), sqlstore.SQLPreparer{On: r}, dialect())
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	for _, query := range r.queries {
		if !strings.Contains(query, "lineage_id = $2") {
			continue
		}
		want := "SEARCH keys USING INDEX keys_by_lineage (network=? AND lineage_id=?)"
		if got := plan(t, s, query); !strings.HasPrefix(got, want) {
			t.Errorf("%s\n is run as\n%s\nand not as\n%s", query, got, want)
		}
		return
	}
	t.Error("no query looks for a lineage")
}

func TestTheKeysAboutToExpireAreFoundByTheirIndex(t *testing.T) {
	t.Parallel()
	s := openAt(t, newDatabase(t).path, Options{})
	r := &recorder{DB: s.readers}
	reader, err := sqlstore.NewReader(t.Context(), sqlstore.SQLPreparer{On: r}, dialect())
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, query := range r.queries {
		if !strings.Contains(query, "ORDER BY expire_time") {
			continue
		}
		found = true
		want := "SEARCH keys USING INDEX keys_by_expiry (expire_time>? AND expire_time<?); " +
			"USE TEMP B-TREE FOR LAST TERM OF ORDER BY"
		if got := plan(t, s, query); got != want {
			t.Errorf("%s\n is run as\n%s\nand not as\n%s", query, got, want)
		}
	}
	if !found {
		t.Error("no such query")
	}
}
