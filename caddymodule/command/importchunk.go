package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// importChunk is what one call imports.
type importChunk struct {
	items []importItem
	// wrong are items that no server could read. One of them would make it refuse the whole call.
	wrong []client.BatchCreateResult
	end   int   // place of the first key that is neither in the chunk nor before it
	err   error // why nothing follows; [io.EOF]: the input has ended
}

// answers reports whether the server's answer to the chunk counts the keys as the input does.
func (c *importChunk) answers() bool {
	n := len(c.items)
	return len(c.wrong) == 0 && n > 0 && c.items[n-1].place == n-1
}

// chunker reads an input in chunks, without the keys that an earlier run has done.
type chunker struct {
	in    keyReader
	from  *startingPoint
	place int         // of the next key
	held  *importItem // read, and too long for the chunk before
}

// next reads up to maxChunk items. Where ctx ends it returns the context's error in the chunk.
func (r *chunker) next(ctx context.Context) (c importChunk) {
	size := 0
	for len(c.items)+len(c.wrong) < maxChunk {
		item, err := r.nextItem(ctx)
		c.end = r.place
		if err != nil {
			c.err = err
			return c
		}
		problem := item.problem
		if problem == "" {
			problem = unreadable(item.body)
		}
		if problem != "" {
			c.wrong = append(c.wrong, client.BatchCreateResult{
				Index: item.place, ErrorCode: client.BatchCreateErrorInvalidArgument, ErrorMessage: problem,
			})
			continue
		}
		if size += len(item.body); size > maxChunkBytes && len(c.items) > 0 {
			r.held, c.end = &item, item.place
			return c
		}
		c.items = append(c.items, item)
	}
	return c
}

// nextItem reads the next key that is to be imported.
func (r *chunker) nextItem(ctx context.Context) (importItem, error) {
	if item := r.held; item != nil {
		r.held = nil
		return *item, nil
	}
	for {
		item, err := r.in.next()
		if errors.Is(err, io.EOF) {
			if problem := r.from.check(r.place); problem != nil {
				err = problem
			}
		}
		if err != nil {
			return importItem{}, err
		}
		r.place = item.place + 1
		if !r.from.done(item.place) {
			return item, nil
		}
		if ctx.Err() != nil {
			return importItem{}, ctx.Err()
		}
	}
}

// startingPoint says which keys of an input an earlier run has done: those before next that did not fail.
type startingPoint struct {
	next   int
	failed []int  // places, in ascending order
	keys   int    // how many the input had; -1: not known
	source string // what says so, for errors
}

// done reports whether a key is done. It is asked in ascending order.
func (p *startingPoint) done(place int) bool {
	for len(p.failed) > 0 && p.failed[0] < place {
		p.failed = p.failed[1:]
	}
	return place < p.next && (len(p.failed) == 0 || p.failed[0] != place)
}

// check finds out at the end of an input of n keys that the starting point is of another one.
func (p *startingPoint) check(n int) error {
	if n < p.next || p.keys >= 0 && n != p.keys {
		return fmt.Errorf("%s: the input holds %d keys, and it was another one that held %d", p.source, n,
			max(p.next, p.keys))
	}
	return nil
}

// unreadable says why no server could read an item; empty: it could.
func unreadable(body json.RawMessage) string {
	var r client.ImportRequest
	err := json.Unmarshal(body, &r)
	typed, wrong := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !utf8.Valid(body):
		return "is not UTF-8"
	case len(bytes.TrimSpace(body)) == 0 || body[0] != '{':
		return "is not a JSON object"
	case wrong && typed.Field != "":
		return typed.Field + ": has the wrong type"
	case err != nil:
		return "has a field of the wrong type"
	default:
		return ""
	}
}

// readChunks reads the input into chunks until it ends or ctx does. The last chunk has an error.
func readChunks(ctx context.Context, in io.Reader, form string, from *startingPoint, chunks chan<- importChunk) {
	var c importChunk
	keys, err := newKeyReader(in, form)
	if err != nil {
		c.err = err
	}
	r := chunker{in: keys, from: from}
	for {
		if c.err == nil {
			c = r.next(ctx)
		}
		select {
		case chunks <- c:
		case <-ctx.Done():
			return
		}
		if c.err != nil {
			return
		}
	}
}
