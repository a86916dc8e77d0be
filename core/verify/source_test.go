package verify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errDown  = errors.New("the database is away")
	networkA = uuid.MustParse("550e8400-e29b-41d4-a716-446655440001")
	networkB = uuid.MustParse("550e8400-e29b-41d4-a716-446655440002")
)

// The engine of this node is a source as it is.
var _ Source = (*engine.Engine)(nil)

// fakeSource holds keys in memory. A credential is "key:<id>"; "bad:…" needs no look-up.
type fakeSource struct {
	positions feed.Positions
	lookups   atomic.Int64 // calls of Lookup with one query
	batches   atomic.Int64 // calls of Lookup with several
	items     atomic.Int64 // credentials that were looked up

	mu    sync.Mutex
	next  uint64
	keys  map[string]core.Key
	fail  error
	enter func(ctx context.Context, credential string) error // runs before the keys are read
	leave func(credential string, v *core.Verdict) (*core.Verdict, error)
	batch func([]LookupResult) []LookupResult // spoils the answer to a batch
	trip  time.Duration                       // that each call takes
	whole bool                                // an error of one credential is one of the call
	calls []sourceCall

	closed error // of Admit
	admits int   // calls of Admit
}

func newFakeSource(ids ...string) *fakeSource {
	s := &fakeSource{keys: make(map[string]core.Key)}
	for _, id := range ids {
		s.create(networkA, id)
	}
	return s
}

func (s *fakeSource) Positions() *feed.Positions { return &s.positions }

func (s *fakeSource) Limits() Limits { return Limits{} }

// Prepare promises the id, and claims it. Of "key:opaque-…" the claim is not known, and "key:of-<id>-…" claims to be
// another's.
func (s *fakeSource) Prepare(n core.NetworkID, credential string) (Query, *core.Verdict) {
	id, ok := strings.CutPrefix(credential, "key:")
	if !ok {
		return Query{}, core.Unknown(n, "", core.UnknownCredentialType)
	}
	q := Query{Network: n, Credential: credential, KeyID: id, Claim: Claim{KeyID: id}}
	if _, opaque := strings.CutPrefix(id, "opaque-"); opaque {
		q.Claim = Claim{}
	}
	if of, token := strings.CutPrefix(id, "of-"); token {
		q.Claim.KeyID, _, _ = strings.Cut(of, "-")
	}
	return q, nil
}

func (s *fakeSource) Admit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admits++
	return s.closed
}

func (s *fakeSource) Lookup(ctx context.Context, queries []Query) ([]LookupResult, error) {
	if len(queries) == 1 {
		s.lookups.Add(1)
	} else {
		s.batches.Add(1)
	}
	s.note(queries)
	if err := s.travel(ctx); err != nil {
		return nil, err
	}
	network := queries[0].Network // a call is for one
	results := make([]LookupResult, len(queries))
	for i, q := range queries {
		results[i].Verdict, results[i].Err = s.one(ctx, network, q.Credential)
		if results[i].Err != nil && s.whole {
			return nil, results[i].Err
		}
	}
	s.mu.Lock()
	spoil := s.batch
	s.mu.Unlock()
	if spoil != nil && len(queries) > 1 {
		results = spoil(results)
	}
	return results, nil
}

// sourceCall is a call of the source.
type sourceCall struct {
	network     core.NetworkID
	credentials []string
}

func (s *fakeSource) note(queries []Query) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trip == 0 {
		return // nobody looks at them, and there may be very many
	}
	s.calls = append(s.calls, sourceCall{queries[0].Network, credentialsOf(queries)})
}

func credentialsOf(queries []Query) []string {
	credentials := make([]string, len(queries))
	for i := range queries {
		credentials[i] = queries[i].Credential
	}
	return credentials
}

// made are the calls so far.
func (s *fakeSource) made() []sourceCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// sizes are how many credentials the calls so far held.
func (s *fakeSource) sizes() []int {
	var sizes []int
	for _, c := range s.made() {
		sizes = append(sizes, len(c.credentials))
	}
	return sizes
}

// travel is a round trip, which a call's deadline may cut short.
func (s *fakeSource) travel(ctx context.Context) error {
	s.mu.Lock()
	trip := s.trip
	s.mu.Unlock()
	if trip == 0 {
		return nil
	}
	timer := time.NewTimer(trip)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *fakeSource) one(ctx context.Context, n core.NetworkID, credential string) (*core.Verdict, error) {
	s.items.Add(1)
	s.mu.Lock()
	enter, leave := s.enter, s.leave
	s.mu.Unlock()
	if enter != nil {
		if err := enter(ctx, credential); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	fail := s.fail
	id := strings.TrimPrefix(credential, "key:")
	key, ok := s.keys[n.String()+id]
	s.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	v := core.Unknown(n, id, core.IssuedKey)
	if ok {
		v = core.NewVerdict(&key, "http://localhost", time.Now())
	}
	if leave != nil {
		return leave(credential, v)
	}
	return v, nil
}

func (s *fakeSource) set(change func(s *fakeSource)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *fakeSource) setFailure(err error) { s.set(func(s *fakeSource) { s.fail = err }) }

// put stores a key and applies the change before it returns, as a store does.
func (s *fakeSource) put(key core.Key, kind feed.EventKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[key.Network.String()+key.ID] = key
	s.next++
	s.positions.Apply(feed.Event{Position: s.next, Network: key.Network, KeyID: key.ID, Kind: kind})
}

func (s *fakeSource) create(n core.NetworkID, id string) { s.put(testKey(n, id), feed.EventCreated) }

func (s *fakeSource) revoke(n core.NetworkID, id string) {
	key := testKey(n, id)
	key.Status = core.StatusRevoked
	s.put(key, feed.EventRevoked)
}

// revokeUnseen is a revocation that no feed tells of.
func (s *fakeSource) revokeUnseen(n core.NetworkID, id string) {
	s.set(func(s *fakeSource) {
		key := testKey(n, id)
		key.Status = core.StatusRevoked
		s.keys[n.String()+id] = key
	})
}

func testKey(n core.NetworkID, id string) core.Key {
	return core.Key{
		Network: n, ID: id, Kind: core.Issued, Name: "test", ActorID: "user-" + id,
		Scopes:       []string{"orders:read", "orders:write", "invoices:read"},
		Metadata:     []byte(`{"plan":"gold","team":"checkout"}`),
		Visibility:   core.VisibilitySecret,
		AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Status:       core.StatusActive,
	}
}

// setup is a configuration, and the limits of the source.
type setup struct {
	Config
	Limits Limits
}

// configured is a [Config] or a [setup].
type configured interface{ asSetup() setup }

func (c Config) asSetup() setup { return setup{Config: c} }
func (s setup) asSetup() setup  { return s }

// limited gives a source other limits.
type limited struct {
	Source
	limits Limits
}

func (l limited) Limits() Limits { return l.limits }

// newVerifier makes a verifier that ends with the test.
func newVerifier(tb testing.TB, config configured, source Source) *Verifier {
	tb.Helper()
	c := config.asSetup()
	v, err := New(c.Config, limited{source, c.Limits})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(v.Close)
	return v
}

// written waits until what was put into the caches can be read.
func (v *Verifier) written() {
	v.cache.good.lfu.Wait()
	v.cache.bad.lfu.Wait()
}

// ask verifies a credential of network A and waits until the answer is in the cache.
func ask(tb testing.TB, v *Verifier, credential string) (Result, error) {
	tb.Helper()
	r, err := v.Verify(tb.Context(), networkA, credential, Use)
	if (err == nil) == (r.Verdict == nil) {
		tb.Fatalf("verdict %v with error %v", r.Verdict, err)
	}
	if v.cache != nil {
		v.written()
	}
	return r, err
}

// want asks and checks code and status.
func want(tb testing.TB, v *Verifier, credential string, code core.Code, status Status) Result {
	tb.Helper()
	r, err := ask(tb, v, credential)
	if err != nil {
		tb.Fatalf("verify: %v", err)
	}
	if r.Verdict.Code != code || r.Cache != status {
		tb.Fatalf("got code %d from %s, want code %d from %s", r.Verdict.Code, r.Cache, code, status)
	}
	return r
}

// wantUnavailable asks and checks that nothing can say.
func wantUnavailable(tb testing.TB, v *Verifier, credential string) error {
	tb.Helper()
	_, err := ask(tb, v, credential)
	if err == nil || core.ReasonOf(err) != core.Unavailable {
		tb.Fatalf("got error %v, want one with reason %s", err, core.Unavailable)
	}
	return err
}

func keyOf(i int) string { return fmt.Sprintf("%08d-0000-4000-8000-000000000000", i) }
