package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"iter"
	"sync"

	"github.com/talos-edge/talos-edge/storage/sqlstore"
)

// Table is what both databases hold of a table.
type Table struct {
	Name   string
	Rows   int64
	Digest string // SHA-256 of all rows, in hexadecimal
}

// digest is the digest of a table's rows. Each value is its type, its length and its bytes, so that no two rows have
// the same encoding.
type digest struct {
	hash hash.Hash
	rows int64
	buf  []byte
}

func newDigest() *digest { return &digest{hash: sha256.New()} }

// add adds a row.
func (d *digest) add(row []any) error {
	d.buf = d.buf[:0]
	for i, value := range row {
		switch v := value.(type) {
		case nil:
			d.buf = append(d.buf, 0)
		case int64:
			d.buf = append(d.buf, 1)
			d.buf = binary.BigEndian.AppendUint64(d.buf, uint64(v)) //nolint:gosec // its bits
		case string:
			d.buf = append(d.buf, 2)
			d.buf = append(binary.BigEndian.AppendUint64(d.buf, uint64(len(v))), v...)
		case []byte:
			d.buf = append(d.buf, 3)
			d.buf = append(binary.BigEndian.AppendUint64(d.buf, uint64(len(v))), v...)
		default:
			return fmt.Errorf("column %d: a %T cannot be copied", i+1, v)
		}
	}
	_, err := d.hash.Write(d.buf)
	d.rows++
	return err
}

// of passes rows on and adds each.
func (d *digest) of(rows iter.Seq2[[]any, error]) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		for row, err := range rows {
			if err == nil {
				err = d.add(row)
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

// table is what was added.
func (d *digest) table(name string) Table {
	return Table{Name: name, Rows: d.rows, Digest: hex.EncodeToString(d.hash.Sum(nil))}
}

// digests reads all tables.
func (v *view) digests(ctx context.Context, watch *watch) (all []Table, err error) {
	for _, t := range sqlstore.Tables() {
		d := newDigest()
		for _, err := range watch.of("check "+t.Name, d.of(v.rows(ctx, t, ""))) {
			if err != nil {
				return nil, err
			}
		}
		all = append(all, d.table(t.Name))
	}
	return all, nil
}

// bothDigests reads all tables of both databases, side by side.
func bothDigests(ctx context.Context, src, dst *view, watch *watch) (here, there []Table, err error) {
	var (
		reading sync.WaitGroup
		failed  error
	)
	reading.Go(func() { here, failed = src.digests(ctx, nil) })
	there, err = dst.digests(ctx, watch)
	reading.Wait()
	if failed != nil {
		err = failed
	}
	return here, there, err
}

// same returns an error unless both databases hold the same.
func same(src, dst []Table) error {
	for i, s := range src {
		if d := dst[i]; s != d {
			return fmt.Errorf("the copy is not what was copied: table %s has %d rows with the digest %s in the "+
				"source, and %d rows with %s in the target", s.Name, s.Rows, s.Digest, d.Rows, d.Digest)
		}
	}
	return nil
}
