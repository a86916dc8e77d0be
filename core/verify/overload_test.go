package verify

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// farConfig is that of a sidecar, which makes two calls of a hundred, at a fifth of its size: so are the rates below,
// but for the long variant.
func farConfig() setup {
	return setup{
		Config{MaxWaiting: 2000 * scale(), LookupTimeout: 2 * time.Second}, Limits{Calls: 2, Items: 20 * scale()},
	}
}

// scale is by how much everything is larger in the long variant.
func scale() int {
	if os.Getenv("TALOS_LONG") != "" {
		return 5
	}
	return 1
}

// capacity is how many look-ups a second a source can answer that is a round trip away.
func capacity(trip time.Duration) float64 { return float64(40*scale()) / trip.Seconds() }

// farSource makes every call of a source take a round trip, or hang.
func farSource(trip time.Duration, ids ...string) *fakeSource {
	s := newFakeSource(ids...)
	s.trip = trip
	return s
}

// load asks for one credential after the other at a steady rate, each as soon as it is its turn and without waiting for
// the answers to those before.
type load struct {
	rate       int // a second
	credential func(i int) string
	client     func(i int) netip.Addr

	mu      sync.Mutex
	good    []time.Duration // answers, by how long they took
	refused []time.Duration
}

// oneClient is the address of a client that asks for everything.
func oneClient(int) netip.Addr { return netip.MustParseAddr("192.0.2.1") }

// run asks for a time. What is asked before the measurement begins is not counted.
func (l *load) run(t *testing.T, v *Verifier, warmUp, measured time.Duration) {
	t.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	start := time.Now()
	for i := range int((warmUp + measured).Seconds() * float64(l.rate)) {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(l.rate))))
		counts, credential := time.Since(start) >= warmUp, l.credential(i)
		all.Go(func() {
			began := time.Now()
			ctx := WithClient(t.Context(), l.client(i))
			_, err := v.Verify(ctx, networkA, credential, Use)
			if !counts {
				return
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if took := time.Since(began); err == nil {
				l.good = append(l.good, took)
			} else {
				if core.ReasonOf(err) != core.Unavailable {
					t.Errorf("got %v", err)
				}
				l.refused = append(l.refused, took)
			}
		})
	}
}

func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[int(p*float64(len(d)-1))]
}

func (l *load) String() string {
	return fmt.Sprintf("answered %d (p50 %v, p99 %v), refused %d (p99 %v)", len(l.good),
		percentile(l.good, .5).Round(time.Millisecond), percentile(l.good, .99).Round(time.Millisecond),
		len(l.refused), percentile(l.refused, .99).Round(time.Millisecond))
}

func unknownKey(i int) string { return fmt.Sprint("key:unknown-", i) }

// overloads are the distances and the rates, as multiples of what two calls of a hundred can answer, of the tests
// below.
var overloads = []struct {
	trip  time.Duration
	times float64
}{
	{20 * time.Millisecond, 1.2},
	{80 * time.Millisecond, 2},
	{200 * time.Millisecond, 1.2},
	{200 * time.Millisecond, 4},
	{900 * time.Millisecond, 3}, // almost half of the timeout
}

// wantGoodput checks that a source was used to at least 95 % and that whoever was refused did not wait for long.
func wantGoodput(t *testing.T, l *load, trip, measured time.Duration) {
	t.Helper()
	batch := float64(farConfig().Limits.Items) // whether the last call is counted is a matter of chance
	if most := capacity(trip) * measured.Seconds(); float64(len(l.good)) < 0.95*most-batch {
		t.Errorf("%v away: %d answered, it can answer %.0f", trip, len(l.good), most)
	}
	if waited := percentile(l.refused, 1); waited > farConfig().LookupTimeout/2 {
		t.Errorf("%v away: a request waited %v to be refused", trip, waited)
	}
}

func TestAttack08_AnOverloadedSourceAnswersAtItsCapacity(t *testing.T) {
	t.Parallel()
	const measured = 5 * time.Second
	for _, o := range overloads {
		synctest.Test(t, func(t *testing.T) {
			v := newVerifier(t, farConfig(), farSource(o.trip))
			l := load{rate: int(o.times * capacity(o.trip)), credential: unknownKey, client: oneClient}
			l.run(t, v, 3*time.Second, measured)
			t.Logf("%v away, %d/s offered: %v", o.trip, l.rate, &l)
			wantGoodput(t, &l, o.trip, measured)
		})
	}
}

func TestAttack08_UnknownKeysCannotTakeTheShareOfKnownKeys(t *testing.T) {
	t.Parallel()
	const measured = 12 * time.Second
	keys := 100 * scale()
	ids := make([]string, keys)
	for i := range ids {
		ids[i] = keyOf(i)
	}
	for _, o := range overloads {
		synctest.Test(t, func(t *testing.T) {
			config := farConfig()
			config.TTL, config.StaleIfError = 10*time.Second, -1 // so that nothing else helps
			v := newVerifier(t, config, farSource(o.trip, ids...))
			ofKey := func(i int) string { return "key:" + keyOf(i%keys) }
			known := load{rate: 40 * scale(), client: oneClient, credential: ofKey}
			known.run(t, v, 4*time.Second, 0)
			unknown := load{rate: int(o.times * capacity(o.trip)), credential: unknownKey, client: oneClient}
			var both sync.WaitGroup
			both.Go(func() { unknown.run(t, v, 3*time.Second, measured) })
			known.run(t, v, 0, 3*time.Second+measured)
			both.Wait()
			t.Logf("%v away, %d/s of unknown keys: %v; known keys: %v", o.trip, unknown.rate, &unknown, &known)
			if len(known.refused) > 0 {
				t.Errorf("%v away: %d requests with known keys were refused", o.trip, len(known.refused))
			}
		})
	}
}

func TestAttack08_OneClientCannotTakeTheShareOfOthers(t *testing.T) {
	t.Parallel()
	const measured = 5 * time.Second
	for _, o := range overloads {
		synctest.Test(t, func(t *testing.T) {
			v := newVerifier(t, farConfig(), farSource(o.trip))
			flood := load{rate: int(o.times * capacity(o.trip)), credential: unknownKey, client: oneClient}
			others := load{
				rate:       4 * scale(),
				credential: func(i int) string { return fmt.Sprint("key:other-", i) },
				client:     func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) },
			}
			var both sync.WaitGroup
			both.Go(func() { flood.run(t, v, 3*time.Second, measured) })
			others.run(t, v, 3*time.Second, measured)
			both.Wait()
			if slowest := percentile(others.good, 1); len(others.refused) > 0 || slowest > 2*o.trip+time.Millisecond {
				t.Errorf("%v away: %d requests of others were refused, the slowest answer took %v",
					o.trip, len(others.refused), slowest)
			}
		})
	}
}

func TestAttack08_ASourceThatHangsUnderLoadDelaysAKnownKeyOnce(t *testing.T) {
	t.Parallel()
	keys := 100 * scale()
	ids := make([]string, keys)
	for i := range ids {
		ids[i] = keyOf(i)
	}
	synctest.Test(t, func(t *testing.T) {
		s := farSource(80*time.Millisecond, ids...)
		config := farConfig()
		config.TTL = 5 * time.Second
		v := newVerifier(t, config, s)
		ofKey := func(i int) string { return "key:" + keyOf(i%keys) }
		known := load{rate: 100 * scale(), client: oneClient, credential: ofKey}
		known.run(t, v, 5*time.Second, 0)
		s.set(func(s *fakeSource) { s.trip = time.Hour })
		unknown := load{rate: 1000 * scale(), credential: unknownKey, client: oneClient}
		var both sync.WaitGroup
		both.Go(func() { unknown.run(t, v, 0, 20*time.Second) })
		known.run(t, v, 0, 20*time.Second)
		both.Wait()
		t.Logf("known keys: %v; unknown keys: %v", &known, &unknown)
		if len(known.refused) > 0 || len(unknown.good) > 0 {
			t.Errorf("%d known keys were refused and %d unknown ones answered", len(known.refused), len(unknown.good))
		}
		if p99 := percentile(known.good, .9); p99 > 0 {
			t.Errorf("a tenth of the known keys' answers took %v or more", p99)
		}
		if slowest := percentile(unknown.refused, 1); slowest > config.LookupTimeout {
			t.Errorf("an unknown key waited %v", slowest)
		}
	})
}

func TestAnEdgeWithAnEmptyCacheRecoversUnderLoad(t *testing.T) {
	t.Parallel()
	keys, rate := 10_000*scale(), 1600*scale()
	synctest.Test(t, func(t *testing.T) {
		s := farSource(80 * time.Millisecond)
		for i := range keys {
			s.keys[networkA.String()+keyOf(i)] = testKey(networkA, keyOf(i))
		}
		v := newVerifier(t, farConfig(), s)
		random := rand.New(rand.NewPCG(1, 2))
		ofAnyKey := func(int) string { return "key:" + keyOf(random.IntN(keys)) }
		requests := load{rate: rate, client: oneClient, credential: ofAnyKey}
		requests.run(t, v, 25*time.Second, 5*time.Second)
		t.Logf("from second 25 to 30: %v", &requests)
		if len(requests.refused) > 0 {
			t.Errorf("after 25 s %d requests were refused", len(requests.refused))
		}
	})
}
