package body

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/talos-edge/talos-edge/core"
)

// JSONType is the media type of everything that is read and written (RFC 8259).
const JSONType = "application/json"

// ErrTooLong marks an error that says that a body is over its limit.
var ErrTooLong = errors.New("the body is too long")

// Decode reads the JSON object in a request's body into a pointer to a struct. An empty body is an empty object.
// Unknown fields are passed over. Anything else than one object whose fields have the right types and are in it once
// is [core.BadRequest]; a body over limit bytes is that, marked by [ErrTooLong]. No error repeats a value of the body.
func Decode(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	if err := CheckContentType(r); err != nil {
		return err
	}
	if r.ContentLength > limit {
		return errTooLong(limit)
	}
	b := TakeBuffer()
	defer GiveBuffer(b)
	if _, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		return bodyError(err, limit)
	}
	return Object(b.Bytes(), into)
}

// Read reads a body into memory of its own. One over limit bytes is marked by [ErrTooLong].
func Read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLong(limit)
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, bodyError(err, limit)
	}
	return b, nil
}

// bodyError says why a body could not be read.
func bodyError(err error, limit int64) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errTooLong(limit)
	}
	return core.WrapError(core.BadRequest, "the request body could not be read to its end; send it again", err)
}

// Object is [Decode] of a body that was read.
func Object(body []byte, into any) error {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return nil
	case trimmed[0] != '{':
		return core.NewError(core.BadRequest, "the request body must be a JSON object")
	case !utf8.Valid(trimmed):
		return core.NewError(core.BadRequest, "the request body must be UTF-8 text")
	}
	if err := json.Unmarshal(trimmed, into); err != nil {
		return decodeError(err)
	}
	return checkDuplicates(trimmed)
}

// CheckContentType refuses what a web page of any origin may send without asking first (Fetch, "simple" requests): a
// form, plain text, and a body without a type. Programs other than browsers may leave the type out.
func CheckContentType(r *http.Request) error {
	values := r.Header["Content-Type"]
	if len(values) == 0 {
		if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
			return nil
		}
	} else if len(values) == 1 {
		if values[0] == JSONType {
			return nil
		}
		mediaType, params, err := mime.ParseMediaType(values[0])
		charset, given := params["charset"]
		if err == nil && mediaType == JSONType && (!given || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return core.NewError(core.BadRequest, "the Content-Type of the request must be "+JSONType)
}

func errTooLong(limit int64) error {
	return core.WrapError(core.BadRequest,
		"the request body is too long; it may have "+strconv.FormatInt(limit>>10, 10)+" KiB", ErrTooLong)
}

// decodeError says what is wrong with a body and where, in the API's words.
func decodeError(err error) error {
	if e, ok := errors.AsType[*core.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return core.NewError(core.BadRequest, e.Field+": must be "+typeName(e.Type))
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return core.NewError(core.BadRequest,
			"the request body is malformed JSON at byte "+strconv.FormatInt(e.Offset, 10))
	}
	return core.NewError(core.BadRequest, "the request body is malformed JSON")
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "an integer"
	}
}
