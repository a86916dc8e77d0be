package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
)

func TestParseEventFilter_ReadsWhatItDocuments(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for s, want := range map[string]engine.EventFilter{
		``:                                   {},
		`  `:                                 {},
		`key_id="x"`:                         {KeyID: "x"},
		`actor_id="x AND key_id=\"1\\"`:      {ActorID: `x AND key_id="1\`},
		`type="ImportedAPIKeyDeleted"`:       {Type: "ImportedAPIKeyDeleted"},
		`time>="2026-11-01T00:00:00Z"`:       {From: from},
		`time<"2026-11-01T00:00:00.5Z"`:      {Before: from.Add(500 * time.Millisecond)},
		`time < "2026-11-01T02:00:00+02:00"`: {Before: from},
		`key_id = "x"  AND  time >= "2026-11-01T00:00:00Z" AND type="IssuedAPIKeyRevoked" AND actor_id="y" AND ` +
			`time<"2026-11-02T00:00:00Z" `: {
			KeyID: "x", ActorID: "y", Type: "IssuedAPIKeyRevoked", From: from, Before: from.Add(24 * time.Hour),
		},
	} {
		got, err := engine.ParseEventFilter(s)
		if got.From, got.Before = got.From.UTC(), got.Before.UTC(); err != nil || got != want {
			t.Errorf("%q is %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{
		`x`, `=`, `key_id`, `key_id=`, `key_id=x`, `key_id=""`, `key_id="x`, `key_id>"x"`, `key_id>="x"`, `key_id<"x"`,
		`Key_id="x"`, `name="x"`, `status=KEY_STATUS_ACTIVE`, `position="1"`, `caller="x"`,
		`type="issuedAPIKeyRevoked"`, `type="Unknown"`, `type=""`, `type=IssuedAPIKeyRevoked`,
		`time="2026-11-01T00:00:00Z"`, `time>"2026-11-01T00:00:00Z"`, `time<="2026-11-01T00:00:00Z"`,
		`time>=2026-11-01T00:00:00Z`, `time>="2026-11-01"`, `time>="2026-11-01T00:00:00"`, `time>="now"`, `time>=""`,
		`time>="0001-01-01T00:00:00Z"`, `time<"0001-01-01T00:00:00Z"`,
		`key_id="a" AND key_id="a"`, `actor_id="a" AND actor_id="b"`,
		`type="IssuedAPIKeyRevoked" AND type="IssuedAPIKeyRevoked"`,
		`time>="2026-11-01T00:00:00Z" AND time>="2026-11-01T00:00:00Z"`,
		`time<"2026-11-01T00:00:00Z" AND time<"2026-11-01T00:00:00Z"`,
		`key_id="a" and actor_id="b"`, `key_id="a" OR actor_id="b"`, `key_id="a" actor_id="b"`, `key_id="a" AND`,
		`NOT key_id="a"`, `(key_id="a")`, `key_id="` + strings.Repeat("x", engine.MaxFilterLength) + `"`,
	} {
		if got, err := engine.ParseEventFilter(s); err == nil || core.ReasonOf(err) != core.BadRequest {
			t.Errorf("%.80q is %+v, %v", s, got, err)
		}
	}
}

func FuzzParseEventFilter(f *testing.F) {
	f.Add(`key_id="a\"b\\c" AND type="IssuedAPIKeyRevoked"`)
	f.Add(` time >= "2026-11-01T00:00:00Z" AND time<"2026-11-02T00:00:00+01:00"`)
	f.Add(`actor_id="x" AND`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := engine.ParseEventFilter(s)
		if err != nil && (core.ReasonOf(err) != core.BadRequest || got != engine.EventFilter{}) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
		if err == nil && got == (engine.EventFilter{}) && strings.Trim(s, " ") != "" {
			t.Errorf("%q narrows nothing", s)
		}
	})
}

func TestEventTypes_EachHasAName(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, kind := range feed.EventKinds {
		for _, of := range []core.Kind{core.Issued, core.Imported} {
			names[engine.EventType(&feed.Event{Kind: kind, KeyKind: uint8(of)})] = true
		}
	}
	delete(names, "Unknown") // there is no rotation of an imported key, and no deletion of an issued one
	for _, name := range engine.EventTypes() {
		if !names[name] {
			t.Errorf("no event has the type %s", name)
		}
		delete(names, name)
	}
	if len(names) > 0 {
		t.Errorf("not among the types: %v", names)
	}
	if got := engine.EventType(&feed.Event{Kind: 200, KeyKind: 9}); got != "Unknown" {
		t.Errorf("an event of a newer build is %q", got)
	}
}
