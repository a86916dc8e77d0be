package storagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
)

// Opener opens stores on one database, which is empty at first and is the test's own.
type Opener struct {
	// Open opens one more store on the database. The suite closes it.
	Open func(ctx context.Context) (core.Store, error)
	// Control returns what steers a store that Open returned. nil: the engine has no such thing.
	Control func(core.Store) Control
}

// Control steers how a store commits.
type Control interface {
	// Hold stops the store at a point, until release is called. Calls of release after the first do nothing.
	Hold(Point) (release func())
	// Held waits until the store has come to a point at which it is held.
	Held(ctx context.Context, p Point) error
	// Waiting is how many changes have been asked for and not been taken up.
	Waiting() int
	// FailNextCommit lets the next commit fail with err in place of being made.
	FailNextCommit(err error)
	// Commits is how many transactions were committed.
	Commits() int
}

// Point is where a store can be held.
type Point int

// The points: before it takes up the changes that wait, and before it commits what it took up.
const (
	BeforeTaking Point = iota
	BeforeCommit
)

// harness is one test and its database.
type harness struct {
	*testing.T
	Opener
}

// store opens a store that is closed when the test ends.
func (t *harness) store() core.Store {
	t.Helper()
	s, err := t.Open(t.Context())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// controlled opens a store and its control.
func (t *harness) controlled() (core.Store, Control) {
	t.Helper()
	if t.Control == nil {
		t.Skip("the engine has no control over its commits")
	}
	s := t.store()
	return s, t.Control(s)
}

// test is one sentence of the specification.
type test struct {
	name string
	run  func(*harness)
}

// Run runs the suite. open is called once for each test and makes a new, empty database.
func Run(t *testing.T, open func(t *testing.T) Opener) {
	t.Helper()
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"create", createTests},
		{"create many", createManyTests},
		{"quota", quotaTests},
		{"look up", lookUpTests},
		{"list", listTests},
		{"update", updateTests},
		{"rotate", rotateTests},
		{"grace period", graceTests},
		{"suspend", suspendTests},
		{"delete", deleteTests},
		{"revoke", revokeTests},
		{"record use", useTests},
		{"revoke lineage", lineageTests},
		{"prefixes", prefixTests},
		{"secrets", secretTests},
		{"events", eventTests},
		{"nodes", nodeTests},
		{"positions", positionTests},
		{"networks", networkTests},
		{"feed readers", feedReaderTests},
		{"expiring", expiringTests},
		{"life", lifeTests},
		{"together", togetherTests},
		{"two stores", twoStoreTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			for _, tt := range group.tests {
				t.Run(tt.name, func(t *testing.T) {
					t.Parallel()
					tt.run(&harness{t, open(t)})
				})
			}
		})
	}
}

// Times of the suite have microseconds, the precision that every engine must keep.
var now = time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

// Two networks: the one of a node that has only one, and another.
var (
	home  = core.NetworkID{}
	other = uuid.MustParse("550e8400-e29b-41d4-a716-446655440001")
)

// newKey is an active issued key that has the required fields and nothing else.
func newKey(network core.NetworkID, id string) core.Key {
	return core.Key{
		Network: network, ID: id, Kind: core.Issued, Name: "key " + id, ActorID: "actor",
		Visibility: core.VisibilitySecret, Status: core.StatusActive, CreateTime: now, UpdateTime: now,
	}
}

// fullKey is a key with every field set.
func fullKey(network core.NetworkID, id string) core.Key {
	k := newKey(network, id)
	k.Kind = core.Imported
	k.Name = "with a \"quote\", a ' and ünïcode"
	k.ActorID = "user:42"
	k.Scopes = []string{"orders:read", "a<b>&c", "*"}
	k.Metadata = json.RawMessage(`{"tier": "gold",  "n":1e400, "nested":{"a":[null,true]}}`)
	k.Visibility = core.VisibilityPublic
	k.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	k.RateLimit = core.RateLimitPolicy{Quota: 1 << 40, Unit: "réquests", Window: 90 * time.Second}
	k.RequestID = "request " + id
	k.Prefix = "prefix"
	k.UpdateTime = now.Add(time.Microsecond)
	k.ExpireTime = now.Add(24 * time.Hour)
	return k
}

func revocation() core.Revocation {
	return core.Revocation{
		Reason: core.ReasonPrivilegeWithdrawn, Description: "left", Time: now.Add(time.Minute),
	}
}

// create adds a key that must be new.
func create(t *harness, s core.Store, k core.Key) core.Key {
	t.Helper()
	stored, created, err := s.Create(t.Context(), k)
	if err != nil || !created {
		t.Fatalf("create %s: created %v, %v", k.ID, created, err)
	}
	return stored
}

func get(t *harness, s core.Store, network core.NetworkID, id string) core.Key {
	t.Helper()
	k, err := s.Get(t.Context(), network, id)
	if err != nil {
		t.Fatalf("get %s: %v", id, err)
	}
	return k
}

// wantKey compares keys. A key that no store has returned has no position, and any will do.
func wantKey(t *harness, got, want core.Key) {
	t.Helper()
	if want.Sequence == 0 {
		want.Sequence = got.Sequence
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("key is\n %+v\nwant\n %+v", got, want)
	}
}

func wantReason(t *harness, err error, want core.Reason) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %s", want)
		return
	}
	if got := core.ReasonOf(err); got != want {
		t.Errorf("error is %s (%v), want %s", got, err, want)
	}
}

// wantText checks that an error's message holds a text.
func wantText(t *harness, err error, text string) {
	t.Helper()
	if err != nil && !strings.Contains(err.Error(), text) {
		t.Errorf("the error %q does not say %q", err, text)
	}
}

// wantAbsent checks that a key was not written.
func wantAbsent(t *harness, s core.Store, network core.NetworkID, id string) {
	t.Helper()
	_, err := s.Get(t.Context(), network, id)
	wantReason(t, err, core.KeyNotFound)
}

// eventually waits until a condition holds.
func eventually(t *harness, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	tooLong := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("the test ended before: %s", what)
		case <-tooLong:
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// all runs f n times at once and returns the errors by index.
func all(n int, f func(i int) error) []error {
	errs := make([]error, n)
	done := make(chan struct{})
	for i := range n {
		go func() {
			defer func() { done <- struct{}{} }()
			errs[i] = f(i)
		}()
	}
	for range n {
		<-done
	}
	return errs
}

// id names the i-th key of a test.
func id(i int) string { return fmt.Sprintf("key-%04d", i) }
