package transfer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
)

// networks are those of a history.
var networks = []core.NetworkID{{}, uuid.MustParse("6f1c1a52-8f0e-4f0f-9c43-0d2d3f0a7b11")}

// start is the first moment of a history.
var start = time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

// history makes random changes to a store.
type history struct {
	store core.Store
	rand  *rand.Rand
	now   time.Time
	keys  []core.Key // that were created, of any state
	name  string     // begins the ids of its keys
}

func newHistory(s core.Store, seed uint64, name string) *history {
	return &history{store: s, rand: rand.New(rand.NewPCG(seed, 0)), now: start, name: name}
}

// change makes one change, which the store may refuse.
func (h *history) change(ctx context.Context) error {
	h.now = h.now.Add(time.Duration(h.rand.IntN(100)) * time.Second)
	if len(h.keys) < 5 {
		return h.create(ctx)
	}
	k := h.keys[h.rand.IntN(len(h.keys))]
	var err error
	switch h.rand.IntN(12) {
	default:
		return h.create(ctx)
	case 0:
		_, err = h.store.Revoke(ctx, k.Network, core.AnyKind, k.ID,
			core.Revocation{Reason: core.ReasonPrivilegeWithdrawn, Description: "left", Time: h.now})
	case 1:
		_, err = h.store.Suspend(ctx, k.Network, core.AnyKind, k.ID, core.Suspension{Time: h.now})
	case 2:
		_, err = h.store.Resume(ctx, k.Network, core.AnyKind, k.ID, core.Resumption{Time: h.now})
	case 3:
		var fresh core.Key
		fresh, _, err = h.store.Rotate(ctx, k.Network, k.ID, core.Rotation{
			NewKeyID: h.id(), Prefix: "new", Time: h.now, Grace: time.Duration(h.rand.IntN(2)) * time.Hour,
		})
		if err == nil {
			h.keys = append(h.keys, fresh)
		}
	case 4:
		err = h.store.Delete(ctx, k.Network, k.ID, core.Deletion{Time: h.now})
		if err == nil && h.rand.IntN(2) == 0 { // it comes back with another number
			_, _, err = h.store.Create(ctx, k)
		}
	case 5:
		name, scopes := fmt.Sprint("renamed ", h.rand.IntN(100)), []string{"a", "ünï"}
		_, err = h.store.Update(ctx, k.Network, k.Kind, k.ID,
			core.Update{Patch: core.Patch{Name: &name, Scopes: &scopes}, Time: h.now})
	case 6, 7:
		err = h.store.RecordUse(ctx, []core.Use{{Network: k.Network, KeyID: k.ID, Time: h.now}})
	}
	refused := []core.Reason{core.FailedPrecondition, core.KeyNotFound, core.Conflict}
	if slices.Contains(refused, core.ReasonOf(err)) {
		return nil
	}
	return err
}

func (h *history) id() string {
	return fmt.Sprintf("%s%04x-%d", h.name, h.rand.IntN(1<<16), len(h.keys))
}

// create adds a key with random fields.
func (h *history) create(ctx context.Context) error {
	k := core.Key{
		Network: networks[h.rand.IntN(len(networks))], ID: h.id(),
		Kind: []core.Kind{core.Issued, core.Imported}[h.rand.IntN(2)], Name: "a \"key\" of ünïcode",
		ActorID: fmt.Sprint("actor ", h.rand.IntN(5)), Visibility: core.VisibilitySecret, Status: core.StatusActive,
		CreateTime: h.now, UpdateTime: h.now,
	}
	if h.rand.IntN(2) == 0 {
		k.ExpireTime = h.now.Add(time.Duration(h.rand.IntN(1000)) * time.Minute)
		k.RequestID = "request " + k.ID
		k.Metadata = json.RawMessage(`{"n":1e400, "a": [null, true]}`)
	}
	if h.rand.IntN(2) == 0 {
		k.Scopes = []string{"orders:read", "*"}
		k.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
		k.RateLimit = core.RateLimitPolicy{Quota: 1 << 40, Unit: "réquests", Window: 90 * time.Second}
	}
	if k.Kind == core.Issued {
		k.Prefix = []string{"", "talos", "prod"}[h.rand.IntN(3)]
	}
	stored, created, err := h.store.Create(ctx, k)
	if created {
		h.keys = append(h.keys, stored)
	}
	return err
}

// run makes several changes, a secret's check value and a reader of the feed, and returns how far that has come.
func (h *history) run(t *testing.T, changes int) core.FeedReader {
	t.Helper()
	for _, n := range networks {
		must(t, h.store.ClaimSecret(t.Context(), n, []string{"check of " + n.String()}))
	}
	claim := core.ReaderClaim{Name: "hook", Owner: "process", Lease: time.Hour}
	at, err := h.store.ClaimReader(t.Context(), claim)
	must(t, err)
	for range changes {
		must(t, h.change(t.Context()))
	}
	at.Position = h.store.Positions().Applied() / 2
	must(t, h.store.SaveReader(t.Context(), claim, at))
	return at
}
