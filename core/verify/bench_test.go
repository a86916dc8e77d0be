package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// benchSource knows every key and costs next to nothing.
type benchSource struct{ positions feed.Positions }

func (s *benchSource) Positions() *feed.Positions { return &s.positions }

func (s *benchSource) Limits() Limits { return Limits{} }

func (s *benchSource) Admit() error { return nil }

func (s *benchSource) Prepare(n core.NetworkID, credential string) (Query, *core.Verdict) {
	return Query{Network: n, Credential: credential, Claim: Claim{Sure: true}}, nil
}

func (s *benchSource) Lookup(_ context.Context, queries []Query) ([]LookupResult, error) {
	results := make([]LookupResult, len(queries))
	for i, q := range queries {
		key := testKey(q.Network, strings.Clone(q.Credential[11:47]))
		key.ActorID = "user-" + key.ID
		results[i].Verdict = core.NewVerdict(&key, "http://localhost", key.CreateTime)
	}
	return results, nil
}

// benchCredentials are as long as issued keys: 120 bytes.
func benchCredentials(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("ory_ak_v1_%0110d", i)
		list[i] = list[i][:11] + fmt.Sprintf("%036d", i) + list[i][47:]
	}
	return list
}

func warm(b *testing.B, keys int) (*Verifier, []string) {
	b.Helper()
	v := newVerifier(b, Config{MaxBytes: 1 << 30}, new(benchSource))
	credentials := benchCredentials(keys)
	for range 2 {
		for i, c := range credentials {
			if _, err := v.Verify(b.Context(), networkA, c, Use); err != nil {
				b.Fatal(err)
			}
			if i%1000 == 0 {
				v.written()
			}
		}
		v.written()
	}
	return v, credentials
}

// shuffled are the credentials in another order than they came into the cache in, so that the processor cannot tell
// which entry is next. They themselves lie in the order of use: a server has just read the credential of a request.
func shuffled(credentials []string) []string {
	order := rand.Perm(len(credentials))
	var text strings.Builder
	for _, i := range order {
		text.WriteString(credentials[i])
	}
	all, list := text.String(), make([]string, len(order))
	for i := range list {
		n := len(credentials[order[i]])
		list[i], all = all[:n], all[n:]
	}
	return list
}

// BenchmarkHit is a hit, and the first look at its verdict and at what a gate needs of it.
func BenchmarkHit(b *testing.B) {
	for _, keys := range []int{1, 10_000, 100_000} {
		v, credentials := warm(b, keys)
		credentials = shuffled(credentials)
		hit := func(b *testing.B, i int) { //nolint:thelper // Helper costs as much as what is measured
			r, err := v.Verify(context.Background(), networkA, credentials[i%keys], Use)
			if err != nil || r.Cache != Hit || r.Verdict.Code != core.CodeValid ||
				r.Verdict.Scopes[0] != "orders:read" {
				b.Errorf("got %v, %v", r, err)
			}
		}
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				hit(b, i)
			}
		})
		b.Run(fmt.Sprintf("parallel/keys=%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			var start atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for i := int(start.Add(7919)); pb.Next(); i++ {
					hit(b, i)
				}
			})
		})
	}
}

// BenchmarkCache is the read of an entry in the two ways there are. What the table saves is the reason that it exists.
func BenchmarkCache(b *testing.B) {
	for _, keys := range []int{1, 10_000} {
		v, credentials := warm(b, keys)
		digests := make([]digest, keys)
		for i, c := range shuffled(credentials) {
			digests[i] = v.hash.of(networkA, c)
		}
		good := v.cache.good
		for name, read := range map[string]func(d *digest) *entry{
			"table":     good.peek,
			"ristretto": func(d *digest) *entry { return v.cache.lookUp(good, d) },
		} {
			b.Run(fmt.Sprintf("%s/keys=%d", name, keys), func(b *testing.B) {
				found := 0
				for i := 0; b.Loop(); i++ {
					if read(&digests[i%keys]) != nil {
						found++
					}
				}
				b.ReportMetric(float64(found)/float64(b.N), "found/op")
			})
		}
	}
}

func BenchmarkMiss(b *testing.B) {
	v := newVerifier(b, Config{}, new(benchSource))
	credentials := benchCredentials(1000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := v.Verify(b.Context(), networkA, credentials[i], NoStore); err != nil {
			b.Fatal(err)
		}
		if i++; i == len(credentials) {
			i = 0
		}
	}
}

func BenchmarkVerifyMany(b *testing.B) {
	for _, mode := range []Mode{Use, NoStore} {
		b.Run(map[Mode]string{Use: "hits=100", NoStore: "misses=100"}[mode], func(b *testing.B) {
			v, credentials := warm(b, 100)
			b.ReportAllocs()
			for b.Loop() {
				if r := v.VerifyMany(b.Context(), networkA, credentials, mode); r[99].Err != nil {
					b.Fatal(r[99].Err)
				}
			}
		})
	}
}

func BenchmarkDigest(b *testing.B) {
	h := newHasher()
	credential := benchCredentials(1)[0]
	b.ReportAllocs()
	for b.Loop() {
		if h.of(networkA, credential) == (digest{}) {
			b.Fatal("empty digest")
		}
	}
}
