package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// model is a source with random behaviour that checks what it is asked. A credential is
// "<network> <key id> <kind> <number>"; keys whose id begins with g are good.
type model struct {
	config    setup
	positions feed.Positions
	tame      bool // every call is answered

	mu       sync.Mutex
	random   *rand.Rand
	position uint64
	inFlight int
	wrong    []string
}

func (m *model) complain(format string, args ...any) {
	m.wrong = append(m.wrong, fmt.Sprintf(format, args...))
}

// modelCredential is a random credential: of few keys, so that some are shared, known or claim the same.
func modelCredential(random *rand.Rand, n core.NetworkID) string {
	id := fmt.Sprintf("%c%d", "gu"[random.IntN(2)], random.IntN(40))
	kind := []string{"key", "key", "key", "token", "endless", "opaque"}[random.IntN(6)]
	filler := strings.Repeat("x", random.IntN(30))
	return fmt.Sprintf("%s %s %s %d %s", n, id, kind, random.IntN(3), filler)
}

func (m *model) Limits() Limits { return m.config.Limits }

func (m *model) Prepare(n core.NetworkID, credential string) (Query, *core.Verdict) {
	q := Query{Network: n, Credential: credential, Claim: modelClaim(credential)}
	if part := strings.Fields(credential); part[2] == "key" {
		q.KeyID = part[1]
	}
	return q, nil
}

func modelClaim(credential string) Claim {
	part := strings.Fields(credential)
	switch part[2] {
	case "opaque":
		return Claim{}
	case "token":
		return Claim{KeyID: part[1], End: int64(1 + len(credential)%4)}
	default:
		return Claim{KeyID: part[1]}
	}
}

func (m *model) Admit() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.tame && m.random.IntN(50) == 0 {
		return errDown
	}
	return nil
}

func (m *model) Positions() *feed.Positions { return &m.positions }

// change is one of a random key, which the table knows of at once.
func (m *model) change() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position++
	id := fmt.Sprintf("g%d", m.random.IntN(40))
	m.positions.Apply(feed.Event{Position: m.position, Network: networkA, KeyID: id, Kind: feed.EventUpdated})
}

// enter checks a call, and decides what becomes of it.
func (m *model) enter(queries []Query) (trip time.Duration, fate int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inFlight++; m.inFlight > m.config.Limits.Calls {
		m.complain("%d calls at once", m.inFlight)
	}
	bytes := 0
	network := queries[0].Network
	for i, q := range queries {
		bytes += len(q.Credential)
		if !strings.HasPrefix(q.Credential, network.String()) {
			m.complain("a call for %s holds %q", network, q.Credential)
		}
		for _, other := range queries[:i] {
			if confusable(modelClaim(q.Credential), modelClaim(other.Credential)) {
				m.complain("%q and %q share a call", other.Credential, q.Credential)
			}
		}
	}
	items := len(queries)
	if items == 0 || items > m.config.Limits.Items || bytes > m.config.Limits.Bytes && items > 1 {
		m.complain("a call holds %d look-ups and %d bytes", items, bytes)
	}
	return time.Duration(1+m.random.IntN(60)) * time.Millisecond, m.random.IntN(30)
}

// confusable reports whether the answer to one credential could be taken for the answer to the other.
func confusable(a, b Claim) bool {
	return a.KeyID == "" || b.KeyID == "" || a.KeyID == b.KeyID && (a.End == 0 || b.End == 0 || a.End == b.End)
}

var errModelThrottled = fmt.Errorf("%w: %w", ErrThrottled, errDown)

func (m *model) Lookup(ctx context.Context, queries []Query) ([]LookupResult, error) {
	trip, fate := m.enter(queries)
	defer func() {
		m.mu.Lock()
		m.inFlight--
		m.mu.Unlock()
	}()
	network := queries[0].Network
	results := make([]LookupResult, len(queries))
	for i, q := range queries {
		part := strings.Fields(q.Credential)
		key := testKey(network, part[1])
		results[i].Verdict = core.NewVerdict(&key, "http://localhost", time.Now())
		if part[1][0] != 'g' {
			results[i].Verdict = core.Unknown(network, part[1], core.IssuedKey)
		}
	}
	if m.tame {
		fate = -1
	}
	switch fate {
	case 0, 1: // it hangs
		<-ctx.Done()
		return nil, ctx.Err()
	case 2: // refused at the very end of its time
		<-ctx.Done()
		return nil, errModelThrottled
	case 3: // it does not heed its context
		time.Sleep(2 * m.config.LookupTimeout)
		return results, nil
	}
	select {
	case <-time.After(trip):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch fate {
	case 4, 5, 6:
		return nil, errModelThrottled
	case 7:
		retry := time.Duration(1+len(queries)) * time.Second
		return nil, &core.Error{Reason: core.Unavailable, Err: ErrThrottled, RetryAfter: retry}
	case 8:
		return nil, errDown
	case 9:
		panic("the source is broken")
	case 10:
		return results[1:], nil
	case 11:
		results[0] = LookupResult{Err: errModelThrottled}
	case 12:
		results[0] = LookupResult{Err: errDown}
	}
	return results, nil
}

// TestTheQueueKeepsItsPromisesUnderRandomSchedules runs random callers against a random source. What it finds wrong
// names the seed.
func TestTheQueueKeepsItsPromisesUnderRandomSchedules(t *testing.T) {
	t.Parallel()
	rounds := 60
	if os.Getenv("TALOS_LONG") != "" {
		rounds = 2000
	}
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) {
			for _, wrong := range modelRound(t, uint64(seed)) {
				t.Errorf("seed %d: %s", seed, wrong)
			}
		})
		if t.Failed() {
			return
		}
	}
}

func modelRound(t *testing.T, seed uint64) []string {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	m := &model{tame: seed%4 == 0, random: rand.New(rand.NewPCG(seed, 1))}
	m.config = setup{
		Config{
			MaxWaiting: 5 + random.IntN(100), LookupTimeout: 300 * time.Millisecond,
			TTL: time.Second, NegativeTTL: -1, StaleIfError: -1,
		},
		Limits{Calls: 1 + random.IntN(4), Items: 1 + random.IntN(20), Bytes: 400},
	}
	v := newVerifier(t, m.config, m)
	var callers sync.WaitGroup
	for range 200 + random.IntN(200) {
		m.caller(t, v, random, &callers)
		synctest.Wait()
		m.checkQueue(v)
		if random.IntN(20) == 0 {
			m.change()
		}
		if random.IntN(3) > 0 {
			time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		}
	}
	if seed%3 == 0 {
		callers.Go(v.Close) // whatever is under way
		synctest.Wait()
	}
	callers.Wait()
	v.Close()
	m.checkEmpty(v)
	return m.wrong
}

// caller asks for random credentials in the background and checks the answers.
func (m *model) caller(t *testing.T, v *Verifier, random *rand.Rand, callers *sync.WaitGroup) {
	t.Helper()
	n := []core.NetworkID{networkA, networkA, networkB}[random.IntN(3)]
	credentials := make([]string, 1+random.IntN(6)*random.IntN(2))
	for i := range credentials {
		credentials[i] = modelCredential(random, n)
	}
	mode := []Mode{Use, Use, Use, NoCache, NoStore}[random.IntN(5)]
	client := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(5))})
	goes := random.IntN(8) == 0
	stays := time.Duration(random.IntN(40)) * time.Millisecond
	callers.Go(func() {
		ctx, cancel := context.WithCancel(WithClient(t.Context(), client))
		defer cancel()
		if goes {
			timer := time.AfterFunc(stays, cancel)
			defer timer.Stop()
		}
		start := time.Now()
		results := v.VerifyMany(ctx, n, credentials, mode)
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, r := range results {
			m.checkResult(credentials[i], &r)
		}
		if took := time.Since(start); took > attempts*m.config.LookupTimeout {
			m.complain("a caller waited %s", took)
		}
	})
}

// checkResult checks what a caller got for one credential.
func (m *model) checkResult(credential string, r *Result) {
	part := strings.Fields(credential)
	switch reason := core.ReasonOf(r.Err); {
	case r.Err != nil && reason != core.Unavailable && reason != core.DeadlineExceeded:
		m.complain("%q got %v", credential, r.Err)
	case (r.Err == nil) != (r.Verdict != nil):
		m.complain("%q got %v with %v", credential, r.Verdict, r.Err)
	case r.Err == nil && (r.Verdict.KeyID != part[1] || r.Verdict.Network.String() != part[0]):
		m.complain("%q got the answer to %s", credential, r.Verdict.KeyID)
	case r.Err == nil && (r.Verdict.Code == core.CodeValid) != (part[1][0] == 'g'):
		m.complain("%q got code %d", credential, r.Verdict.Code)
	case r.Cache == Stale:
		m.complain("%q got a stale answer", credential)
	}
}

// checkQueue checks that the queue adds up, and that nothing waits that could be sent.
func (m *model) checkQueue(v *Verifier) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	q, now := &v.queue, time.Now()
	waiting := 0
	each := func(f *lookup) {
		waiting++
		if f.ended {
			m.complain("%q waits and has ended", f.Credential)
		}
		if f.place == nil || f.timer == nil {
			m.complain("%q waits without a place or a timer", f.Credential)
		}
		if q.inFlight < q.calls && q.paceOf(f).Open(now) {
			m.complain("%q waits with %d of %d calls out", f.Credential, q.inFlight, q.calls)
		}
	}
	for _, l := range q.lanes {
		for e := l.known.Front(); e != nil; e = e.Next() {
			each(e.Value.(*lookup)) //nolint:errcheck,forcetypeassert // see push
		}
	}
	for _, c := range q.clients {
		for e := c.waiting.Front(); e != nil; e = e.Next() {
			each(e.Value.(*lookup)) //nolint:errcheck,forcetypeassert // see push
		}
	}
	if waiting != q.waiting || waiting > q.room+q.items*q.calls {
		m.complain("%d wait, %d are counted, there is room for %d", waiting, q.waiting, q.room)
	}
}

// checkEmpty checks that nothing is left of anything.
func (m *model) checkEmpty(v *Verifier) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	q := &v.queue
	if left := q.waiting + q.inFlight + len(q.lanes) + len(q.turns) + len(q.clients) + len(q.largest); left > 0 {
		m.complain("in the end the queue is %+v", *q)
	}
	if len(v.lookups) > 0 {
		m.complain("in the end %d look-ups can be joined", len(v.lookups))
	}
}
