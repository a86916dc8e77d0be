package verify

import (
	"unsafe"

	"github.com/talos-edge/talos-edge/core"
)

// compactEntry is an entry and its verdict side by side. A hit on one of many entries waits for memory, since none of
// it is in the processor's caches: so it waits once, and not for each part by itself.
type compactEntry struct {
	entry
	body   core.Verdict
	scopes [3]string
}

// The pieces of memory for compact entries, by the room for their text. They fill the allocator's size classes of 512,
// 576, 704 and 896 bytes; above 512 bytes it keeps 8 for itself.
type (
	small struct {
		compactEntry
		text [80]byte
	}
	medium struct {
		compactEntry
		text [136]byte
	}
	large struct {
		compactEntry
		text [264]byte
	}
	huge struct {
		compactEntry
		text [456]byte
	}
)

const allocatorHeader = 8

// newEntry makes an entry of a verdict, and a place for the two together if it is a good one as [core.NewVerdict] makes
// it. What a source has put together in another way stays where it is.
func newEntry(v *core.Verdict) *entry {
	n := v.TextSize()
	switch {
	case v.Code != core.CodeValid || v.Identity == (core.Identity{}) || n > len(huge{}.text):
		return &entry{verdict: v, size: uint32(int(unsafe.Sizeof(entry{})) + v.Size())} //nolint:gosec // below 1 MiB
	case n <= len(small{}.text):
		p := new(small)
		return p.fill(v, p.text[:], unsafe.Sizeof(*p))
	case n <= len(medium{}.text):
		p := new(medium)
		return p.fill(v, p.text[:], unsafe.Sizeof(*p)+allocatorHeader)
	case n <= len(large{}.text):
		p := new(large)
		return p.fill(v, p.text[:], unsafe.Sizeof(*p)+allocatorHeader)
	default:
		p := new(huge)
		return p.fill(v, p.text[:], unsafe.Sizeof(*p)+allocatorHeader)
	}
}

// fill copies a verdict to its place. size is that of the whole piece.
func (s *compactEntry) fill(v *core.Verdict, text []byte, size uintptr) *entry {
	beside := v.Compact(&s.body, s.scopes[:], text)
	s.verdict = &s.body
	s.size = uint32(size) + uint32(beside) //nolint:gosec // below 1 MiB
	return &s.entry
}
