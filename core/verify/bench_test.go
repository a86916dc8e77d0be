package verify

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// benchSource knows every key and costs next to nothing.
type benchSource struct{ positions feed.Positions }

func (s *benchSource) Positions() *feed.Positions { return &s.positions }

func (s *benchSource) Identify(core.NetworkID, string) (string, *core.Verdict) { return "", nil }

func (s *benchSource) Claimed(core.NetworkID, string) Claim { return Claim{Sure: true} }

func (s *benchSource) Admit() error { return nil }

func (s *benchSource) Lookup(_ context.Context, n core.NetworkID, credential string) (*core.Verdict, error) {
	key := testKey(n, strings.Clone(credential[11:47]))
	key.ActorID = "user-" + key.ID
	return core.NewVerdict(&key, "http://localhost", key.CreateTime), nil
}

func (s *benchSource) LookupMany(ctx context.Context, n core.NetworkID, cs []string) ([]LookupResult, error) {
	results := make([]LookupResult, len(cs))
	for i, c := range cs {
		results[i].Verdict, results[i].Err = s.Lookup(ctx, n, c)
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

func BenchmarkHit(b *testing.B) {
	for _, keys := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			v, credentials := warm(b, keys)
			before := v.Stats().Requests[Miss]
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r, err := v.Verify(b.Context(), networkA, credentials[i], Use)
				if err != nil || r.Verdict.Code != core.CodeValid {
					b.Fatal(err)
				}
				if i++; i == keys {
					i = 0
				}
			}
			b.ReportMetric(float64(v.Stats().Requests[Miss]-before)/float64(b.N), "misses/op")
		})
		b.Run(fmt.Sprintf("parallel/keys=%d", keys), func(b *testing.B) {
			v, credentials := warm(b, keys)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					r, err := v.Verify(context.Background(), networkA, credentials[i%keys], Use)
					if err != nil || r.Verdict.Code != core.CodeValid {
						b.Error(err)
						return
					}
				}
			})
		})
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
