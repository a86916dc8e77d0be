package core_test

import (
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

func TestAttack11_AnIdentityIsOneLineOfPrintableASCII(t *testing.T) {
	t.Parallel()
	for actor, want := range map[string]string{
		"alice":            "alice",
		"Alice B. Toklas":  "Alice B. Toklas",
		"a\r\nX-Admin: 1":  "a%0D%0AX-Admin: 1",
		"a, b":             "a%2C b",
		"100%":             "100%25",
		" alice ":          "%20alice%20",
		"Zoë":              "Zo%C3%AB",
		"\x7f\t":           "%7F%09",
		" ":                "%20",
		"user@example.com": "user@example.com",
	} {
		k := core.Key{
			ID: "x", Kind: core.Issued, ActorID: actor,
			Status: core.StatusActive, Visibility: core.VisibilitySecret,
		}
		if got := core.NewVerdict(&k, "", time.Now()).Identity.Actor; got != want {
			t.Errorf("%q: %q, want %q", actor, got, want)
		}
	}
}

func TestNewVerdict_FailsClosedOnWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]core.Key{
		"an unknown kind":   {Kind: 9, Status: core.StatusActive},
		"an unknown status": {Kind: core.Issued, Status: 9},
		"no status":         {Kind: core.Issued},
	} {
		if v := core.NewVerdict(&k, "", time.Now()); v.Code == core.CodeValid {
			t.Errorf("%s: valid", name)
		}
	}
}
