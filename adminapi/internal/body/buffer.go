package body

import (
	"bytes"
	"sync"
)

// maxReused is the capacity up to which a buffer is kept for the next request, in bytes.
const maxReused = 64 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// TakeBuffer returns an empty buffer.
func TakeBuffer() *bytes.Buffer {
	b := buffers.Get().(*bytes.Buffer) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	b.Reset()
	return b
}

// GiveBuffer keeps a buffer for the next request. What was in it is wiped: it may have been a credential.
func GiveBuffer(b *bytes.Buffer) {
	if b.Cap() > maxReused {
		return
	}
	clear(b.Bytes())
	buffers.Put(b)
}
