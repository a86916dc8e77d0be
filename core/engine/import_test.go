package engine_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

func importRequest(raw string) engine.ImportRequest {
	return engine.ImportRequest{RawKey: raw, IssueRequest: engine.IssueRequest{Name: "test", ActorID: "bob"}}
}

func importKey(t testing.TB, e *engine.Engine, raw string) core.Key {
	t.Helper()
	key, err := e.Import(t.Context(), importRequest(raw))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestImport_AKeyVerifiesWithAllThatItWasGiven(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	ttl := time.Hour
	r := importRequest("legacy key, with \"odd\" characters: ü")
	r.Scopes, r.TTL, r.Visibility = []string{"a"}, &ttl, core.VisibilityPublic
	r.Metadata = json.RawMessage(`{ "a": 1 }`)
	r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	r.RateLimit = core.RateLimitPolicy{Quota: 10, Unit: "requests", Window: time.Minute}
	key, err := e.Import(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if want := credential.ImportedKeyID(core.NetworkID{}, r.RawKey); key.ID != want || key.Kind != core.Imported {
		t.Errorf("the key is %+v, and its id should be %s", key, want)
	}
	v := lookup(t, e, r.RawKey)
	if v.Code != core.CodeValid || v.Type != core.ImportedKey || v.ActorID != "bob" || v.RateLimit != r.RateLimit ||
		v.Visibility != core.VisibilityPublic || len(v.AllowedCIDRs) != 1 || string(v.Metadata) != `{"a":1}` {
		t.Errorf("verdict %+v", v)
	}
	if v := lookup(t, e, r.RawKey+" "); v.Code != core.CodeNotFound {
		t.Errorf("another text reads %+v", v)
	}
	if v := lookup(t, e, key.ID); v.Code != core.CodeNotFound { // attack 18
		t.Errorf("the key id reads %+v", v)
	}
}

func TestImport_ASecondTimeIsRefusedUnlessItIsTheSameRequest(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	first := importKey(t, e, "legacy")
	_, err := e.Import(t.Context(), importRequest("legacy"))
	wantReason(t, err, core.KeyExists)

	r := importRequest("other")
	r.RequestID = "job-1"
	one, err := e.Import(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.Import(t.Context(), r)
	if err != nil || again.ID != one.ID || again.ID == first.ID {
		t.Errorf("%+v, %v", again, err)
	}
	r.RawKey = "a third" // would otherwise read as imported, and is not
	_, err = e.Import(t.Context(), r)
	wantReason(t, err, core.Conflict)
	if v := lookup(t, e, "a third"); v.Code != core.CodeNotFound {
		t.Errorf("verdict %+v", v)
	}
}

func TestImport_RefusesWhatWouldNeverBeLookedUpAsAnImportedKey(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, func(c *engine.Config) { c.Prefixes.RetiredSecret = []string{"old"} })
	minted := mintFor(t, uuid.NewString(), secretB)
	for name, tt := range map[string]struct{ raw, says string }{
		"nothing":                     {"", "required"},
		"4097 bytes":                  {strings.Repeat("k", credential.MaxImportedLength+1), "4096"},
		"invalid UTF-8":               {"a\xff", "UTF-8"},
		"NUL":                         {"a\x00b", "NUL"},
		"an issued key, not ours too": {minted, "issues"},
		"one with a retired prefix":   {strings.Replace(minted, "ory_ak", "old", 1), "issues"},
		"a JWT":                       {"eyJhbGciOiJub25lIn0.e30.c2ln", "JWT"},
		"a macaroon":                  {"mc_v1_AgEDb3J5", "macaroon"},
	} {
		_, err := e.Import(t.Context(), importRequest(tt.raw))
		if core.ReasonOf(err) != core.BadRequest || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		} else if tt.raw != "" && strings.Contains(err.Error(), tt.raw) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
	if n := store.Positions().Applied(); n != 0 {
		t.Errorf("%d changes were written", n)
	}
	importKey(t, e, "ory_ak_v1_but_nothing_that_could_be_one")
	importKey(t, e, strings.Repeat("k", credential.MaxImportedLength))
}

func TestImportMany_JudgesEachAlone(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	importKey(t, e, "known")
	nameless := importRequest("nameless")
	nameless.Name = ""
	results, err := e.ImportMany(t.Context(), []engine.ImportRequest{
		importRequest("a"), nameless, importRequest("known"), importRequest("a"), importRequest(""), importRequest("b"),
	})
	if err != nil || len(results) != 6 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for i, want := range []core.Reason{"", core.BadRequest, core.KeyExists, core.KeyExists, core.BadRequest, ""} {
		got := results[i]
		if want == "" && (got.Err != nil || got.Key.ID == "") || want != "" && core.ReasonOf(got.Err) != want {
			t.Errorf("result %d: %v, want %q", i, got.Err, want)
		}
	}
	if v := lookup(t, e, "b"); v.Code != core.CodeValid || v.KeyID != results[5].Key.ID {
		t.Errorf("verdict %+v", v)
	}
	again := importRequest("c")
	again.RequestID = "request-c"
	for _, call := range []string{"first", "repeated"} {
		results, err = e.ImportMany(t.Context(), []engine.ImportRequest{again, again})
		if err != nil || results[0].Err != nil || results[0].Key.ID == "" ||
			core.ReasonOf(results[1].Err) != core.KeyExists ||
			results[1].Err == nil || results[1].Key.ID != "" {
			t.Errorf("a request that is twice in the %s call: %+v, %v", call, results, err)
		}
	}
	for _, n := range []int{0, engine.MaxImports + 1} {
		_, err := e.ImportMany(t.Context(), make([]engine.ImportRequest, n))
		wantReason(t, err, core.BadRequest)
	}
	results, err = e.ImportMany(t.Context(), []engine.ImportRequest{nameless, nameless})
	if err != nil || len(results) != 2 || results[0].Err == nil || results[1].Err == nil {
		t.Errorf("all wrong: %+v, %v", results, err)
	}
}

func TestQuota_HoldsForIssuedAndImportedKeysTogetherAlsoAtOnce(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), func(c *engine.Config) { c.KeyQuota = 10 })
	var wg sync.WaitGroup
	made := make([]bool, 40)
	for i := range made {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = e.Import(t.Context(), importRequest(uuid.NewString()))
			} else {
				_, _, err = e.Issue(t.Context(), engine.IssueRequest{Name: "n", ActorID: "a"})
			}
			if made[i] = err == nil; !made[i] {
				wantReason(t, err, core.KeyQuotaExceeded)
			}
		})
	}
	wg.Wait()
	n := 0
	for _, m := range made {
		if m {
			n++
		}
	}
	if n != 10 {
		t.Errorf("%d keys were made, want 10", n)
	}
	page, err := e.List(t.Context(), engine.ListRequest{Kind: core.Issued})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range page.Keys {
		// A rotation needs no room, and makes none.
		if _, _, _, err := e.Rotate(t.Context(), k.ID, engine.RotateRequest{}); err != nil {
			t.Error(err)
		}
	}
	_, err = e.Import(t.Context(), importRequest("one more"))
	wantReason(t, err, core.KeyQuotaExceeded)
}
