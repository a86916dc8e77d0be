package sqlstore

import (
	"context"
	"errors"
	"strings"
)

// Table is a table whose rows are what a database holds, whatever its engine.
type Table struct {
	Name    string
	Columns []string
	// Select are the expressions that the columns are read by.
	Select []string
	// Order is the order of the rows. It is unique, of numbers and bytes, and so the same in every engine.
	Order string
}

// Tables are the tables that another database is made of. Not among them are the processes that use a database, and
// what engines keep for themselves.
func Tables() []*Table {
	return []*Table{
		newTable("keys", "created_seq, network, key_id", "network, "+keyColumns),
		newTable("events", "seq", eventColumns),
		newTable("issued_prefixes", "network, prefix", "network, prefix, keys"),
		newTable("secrets", "network", "network, check_value"),
		newTable("networks", "id", networkColumns),
		newTable("network_hosts", "host", "host, network"),
		{
			Name: "feed_readers", Order: "name",
			Columns: []string{"name", "position", "notices_until", "owner", "lease_until"},
			// Nobody reads another database yet.
			Select: []string{"name", "position", "notices_until", "CAST('' AS TEXT)", "CAST(0 AS BIGINT)"},
		},
	}
}

func newTable(name, order, columns string) *Table {
	all := strings.Split(columns, ", ")
	return &Table{Name: name, Order: order, Columns: all, Select: all}
}

// Query is the query for rows of the table; where is a condition, or empty.
func (t *Table) Query(where string) string {
	query := "SELECT " + strings.Join(t.Select, ", ") + " FROM " + t.Name
	if where != "" {
		query += " WHERE " + where
	}
	return query + " ORDER BY " + t.Order
}

// Rows calls row with the values of each row that a query of the table returns: int64, string, []byte or nil. They are
// valid until the next call.
func (t *Table) Rows(
	ctx context.Context, p Preparer, where string, row func([]any) error, args ...any,
) error {
	values, targets := make([]any, len(t.Columns)), make([]any, len(t.Columns))
	for i := range values {
		targets[i] = &values[i]
	}
	return Each(ctx, p, t.Query(where), func(rows Rows) error {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		return row(values)
	}, args...)
}

// Each runs a query once and calls row for each of its rows.
func Each(ctx context.Context, p Preparer, query string, row func(Rows) error, args ...any) (err error) {
	stmt, err := p.Prepare(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	return each(ctx, stmt, row, args...)
}

// Exec runs a statement once and returns how many rows it has changed.
func Exec(ctx context.Context, p Preparer, query string, args ...any) (n int64, err error) {
	stmt, err := p.Prepare(ctx, query)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	return stmt.Exec(ctx, args...)
}
