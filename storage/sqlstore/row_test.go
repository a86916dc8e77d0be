package sqlstore

import (
	"net/netip"
	"testing"

	"github.com/talos-edge/talos-edge/core"
)

func TestARowThatCannotBeReadIsAnErrorAndNotAKeyWithLess(t *testing.T) {
	t.Parallel()
	good := func() *keyRow {
		r, err := rowOf(&core.Key{
			ID: "k", Scopes: []string{"a"}, AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Status: core.StatusActive,
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if _, err := good().key(core.NetworkID{}); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*keyRow){
		"scopes cut off":       func(r *keyRow) { r.scopes = `["a"` },
		"scopes of numbers":    func(r *keyRow) { r.scopes = `[1]` },
		"range without prefix": func(r *keyRow) { r.cidrs = `["10.0.0.0"]` },
		"range cut off":        func(r *keyRow) { r.cidrs = `["10.0.0.0/8",` },
		"status too large":     func(r *keyRow) { r.status = 257 }, // 1, active, if it were cut to 8 bits
		"status negative":      func(r *keyRow) { r.status = -1 },
		"kind too large":       func(r *keyRow) { r.kind = 1 << 40 },
		"visibility too large": func(r *keyRow) { r.visibility = 258 },
		"reason too large":     func(r *keyRow) { r.reason = 256 },
		"quota negative":       func(r *keyRow) { r.rateQuota = -1 },
		"window negative":      func(r *keyRow) { r.rateWindow = -1 },
		"window too large":     func(r *keyRow) { r.rateWindow = 1 << 62 },
	} {
		row := good()
		spoil(row)
		if k, err := row.key(core.NetworkID{}); err == nil {
			t.Errorf("%s: %+v", name, k)
		}
	}
}

func TestAnAddressRangeThatCouldNotBeReadBackIsNotWritten(t *testing.T) {
	t.Parallel()
	if _, err := rowOf(&core.Key{AllowedCIDRs: []netip.Prefix{{}}}); err == nil {
		t.Error("no error")
	}
}

func TestAnEventOfANewerBuildStillCounts(t *testing.T) {
	t.Parallel()
	row := eventRow{seq: 7, network: make([]byte, 16), kind: 9000, reason: 9000, caller: 9000}
	if err := row.read(); err != nil {
		t.Fatal(err)
	}
	if e := row.event; e.Position != 7 || e.Kind.String() != "unknown" || e.Reason != 0 {
		t.Errorf("event is %+v", e)
	}
	row.network = make([]byte, 15)
	if row.read() == nil {
		t.Error("a network of 15 bytes was taken")
	}
	row = eventRow{seq: -1, network: make([]byte, 16)}
	if row.read() == nil {
		t.Error("a negative position was taken")
	}
}
