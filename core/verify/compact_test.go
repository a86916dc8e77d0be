package verify

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/talos-edge/talos-edge/core"
)

func TestPiecesOfMemoryFillTheAllocatorsSizeClasses(t *testing.T) {
	t.Parallel()
	for name, size := range map[string][2]uintptr{
		"small":  {unsafe.Sizeof(small{}), 512},
		"medium": {unsafe.Sizeof(medium{}) + allocatorHeader, 576},
		"large":  {unsafe.Sizeof(large{}) + allocatorHeader, 704},
		"huge":   {unsafe.Sizeof(huge{}) + allocatorHeader, 896},
	} {
		if size[0] != size[1] {
			t.Errorf("%s: %d bytes, want %d", name, size[0], size[1])
		}
	}
}

func TestACompactVerdictIsTheSame(t *testing.T) {
	t.Parallel()
	for _, scopes := range [][]string{nil, {"a"}, {"a", "b:c", "d"}, {"a", "b", "c", "d"}} {
		for _, long := range []int{0, 30, 80, 200, 400, 5000} {
			key := testKey(networkA, keyOf(1))
			key.ActorID, key.Scopes = "actor, "+strings.Repeat("x", long), scopes
			key.Metadata = json.RawMessage(`{"plan":"pro"}`)
			key.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			key.RateLimit = core.RateLimitPolicy{Quota: 5, Unit: "requests", Window: time.Minute}
			v := core.NewVerdict(&key, "issuer", key.CreateTime)
			e := newEntry(v)
			got := *e.verdict
			if len(got.Scopes) == 0 && len(v.Scopes) == 0 {
				got.Scopes = v.Scopes
			}
			if !reflect.DeepEqual(&got, v) {
				t.Errorf("got %+v, want %+v", got, v)
			}
			if fits := v.TextSize() <= len(huge{}.text); !fits {
				if e.verdict != v {
					t.Errorf("%d bytes of text have another place", v.TextSize())
				}
				continue
			}
			lies := func(what string, p unsafe.Pointer) {
				if at := uintptr(p) - uintptr(unsafe.Pointer(e)); at >= unsafe.Sizeof(huge{}) {
					t.Errorf("%d bytes of text, %d scopes: the %s lies elsewhere", v.TextSize(), len(scopes), what)
				}
			}
			lies("verdict", unsafe.Pointer(e.verdict))
			lies("key id", unsafe.Pointer(unsafe.StringData(got.KeyID)))
			lies("actor", unsafe.Pointer(unsafe.StringData(got.Identity.Actor)))
			if n := len(scopes); n > 0 && n <= len(compactEntry{}.scopes) {
				lies("list of scopes", unsafe.Pointer(unsafe.SliceData(got.Scopes)))
				lies("last scope", unsafe.Pointer(unsafe.StringData(got.Scopes[n-1])))
			}
		}
	}
}

func TestAVerdictWithoutAnIdentityStaysWhereItIs(t *testing.T) {
	t.Parallel()
	for _, v := range []*core.Verdict{{KeyID: "k", Scopes: []string{"a"}}, denied} {
		if e := newEntry(v); e.verdict != v {
			t.Errorf("got %+v, want %+v", e.verdict, v)
		}
	}
}
