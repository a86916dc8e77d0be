package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// Bounds of an import.
const (
	maxChunk = client.MaxImports // keys in one call
	// maxChunkBytes bounds the items of one call. Encoding can make six bytes of one, and a server reads 16 MiB.
	maxChunkBytes = 2 << 20
	// maxItemBytes bounds what is read of the input for one key: with a raw key of 4 KiB and metadata of 4 KiB, a key
	// is far from it.
	maxItemBytes = 1 << 20
)

// importItem is a key to import, and its place in the input, from 0.
type importItem struct {
	place   int
	body    json.RawMessage
	problem string // why there is no body; empty: there is one
}

// keyReader reads the keys of an input one after the other. It holds one at a time.
type keyReader interface {
	// next returns the next key; [io.EOF] is the end of input that is complete. Errors do not repeat the input.
	next() (importItem, error)
}

// itemReader reads the items of a JSON array, or of the array requests in a JSON object, one after the other. It holds
// one item at a time.
type itemReader struct {
	decoder *json.Decoder
	source  *budget
	begun   bool
	object  bool
	place   int // of the next item
}

func newItemReader(r io.Reader) *itemReader {
	source := &budget{r: r}
	return &itemReader{decoder: json.NewDecoder(source), source: source}
}

// budget is a reader that ends in an error when too much is read of it at a stretch.
type budget struct {
	r    io.Reader
	left int
}

var errItemTooLong = fmt.Errorf("is longer than %d bytes", maxItemBytes)

// Read reads.
func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errItemTooLong
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// next makes it a keyReader.
func (r *itemReader) next() (importItem, error) {
	if !r.begun {
		if err := r.begin(); err != nil {
			return importItem{}, r.explain("the input", err)
		}
		r.begun = true
	}
	r.source.left = maxItemBytes
	if !r.decoder.More() {
		if err := r.end(); err != nil {
			return importItem{}, r.explain("the input after the last key", err)
		}
		return importItem{}, io.EOF
	}
	item := importItem{place: r.place}
	if err := r.decoder.Decode(&item.body); err != nil {
		return importItem{}, r.explain(fmt.Sprintf("key %d", r.place), err)
	}
	r.place++
	return item, nil
}

var errShape = errors.New(`is neither a JSON array of keys nor an object with one as "requests"; see --input-format`)

// begin reads up to the first item.
func (r *itemReader) begin() error {
	token, err := r.token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		return nil
	case json.Delim('{'):
		r.object = true
	default:
		return errShape
	}
	for {
		name, err := r.token()
		if err != nil {
			return err
		}
		if name == json.Delim('}') {
			return errShape
		}
		if name == "requests" {
			break
		}
		if err := r.skip(); err != nil {
			return err
		}
	}
	if token, err = r.token(); err == nil && token != json.Delim('[') {
		err = errShape
	}
	return err
}

// end reads what follows the last item.
func (r *itemReader) end() error {
	if _, err := r.token(); err != nil {
		return err
	}
	for r.object {
		name, err := r.token()
		if err != nil {
			return err
		}
		if name == json.Delim('}') {
			break
		}
		if name == "requests" {
			return errors.New(`has "requests" twice`)
		}
		if err := r.skip(); err != nil {
			return err
		}
	}
	if _, err := r.token(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("is not the end")
		}
		return err
	}
	return nil
}

// skip reads over a value.
func (r *itemReader) skip() error {
	for depth := 0; ; {
		token, err := r.token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

func (r *itemReader) token() (json.Token, error) {
	r.source.left = maxItemBytes
	return r.decoder.Token()
}

// explain says what is wrong with a part of the input, and where. What encoding/json says of a syntax error may quote
// the input, so it is not passed on.
func (r *itemReader) explain(what string, err error) error {
	_, bad := errors.AsType[*json.SyntaxError](err)
	switch {
	case bad: // its own offset leaves out what the decoder has passed over
		return fmt.Errorf("%s: is not well-formed JSON, after byte %d", what, r.decoder.InputOffset())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: ends too early, after byte %d", what, r.decoder.InputOffset())
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}
