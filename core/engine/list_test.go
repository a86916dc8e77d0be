package engine_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

func TestList_PagesHoldEachKeyOnceInTheOrderOfCreation(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	var want, got []string
	for range 7 {
		key, _ := issue(t, e, nil)
		want = append(want, key.ID)
	}
	importKey(t, e, "of the other kind")
	r := engine.ListRequest{Kind: core.Issued, PageSize: 3}
	for {
		page, err := e.List(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			got = append(got, k.ID)
		}
		if r.PageToken = page.NextPageToken; r.PageToken == "" {
			break
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the list is %v, want %v", got, want)
	}
}

func TestList_SizesOfPages(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	requests := make([]engine.ImportRequest, engine.MaxImports)
	for i := range requests {
		requests[i] = importRequest(fmt.Sprint("key ", i))
	}
	if _, err := e.ImportMany(t.Context(), requests); err != nil {
		t.Fatal(err)
	}
	importKey(t, e, "one more")
	for size, want := range map[int]int{0: 50, 1: 1, 1000: 1000, 1001: 1000, 1 << 40: 1000} {
		page, err := e.List(t.Context(), engine.ListRequest{Kind: core.Imported, PageSize: size})
		if err != nil || len(page.Keys) != want || page.NextPageToken == "" {
			t.Errorf("page_size %d: %d keys, %v, want %d", size, len(page.Keys), err, want)
		}
	}
	_, err := e.List(t.Context(), engine.ListRequest{Kind: core.Imported, PageSize: -1})
	wantReason(t, err, core.BadRequest)
	_, err = e.List(t.Context(), engine.ListRequest{})
	wantReason(t, err, core.BadRequest)
}

func TestList_AFilterNarrowsIt(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	odd := `a"b\c`
	for _, actor := range []string{"alice", odd, "alice"} {
		issue(t, e, func(r *engine.IssueRequest) { r.ActorID = actor })
	}
	revoked, _ := issue(t, e, nil)
	if _, err := e.Revoke(t.Context(), core.Issued, revoked.ID, engine.RevokeRequest{}); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string]int{
		``:                          4,
		`actor_id="alice"`:          3,
		`actor_id="a\"b\\c"`:        1,
		`actor_id="nobody"`:         0,
		`status=KEY_STATUS_REVOKED`: 1,
		`status=KEY_STATUS_EXPIRED`: 0,
		`actor_id="alice" AND status=KEY_STATUS_ACTIVE`:    2,
		`status=KEY_STATUS_REVOKED AND actor_id="a\"b\\c"`: 0,
	} {
		page, err := e.List(t.Context(), engine.ListRequest{Kind: core.Issued, Filter: filter})
		if err != nil || len(page.Keys) != want {
			t.Errorf("%s: %d keys, %v, want %d", filter, len(page.Keys), err, want)
		}
	}
}

func TestList_AKeyThatWasNeverUsedCountsAsUsedBeforeAnyTime(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, nil)
	never, _ := issue(t, e, nil)
	used, _ := issue(t, e, nil)
	at := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	if err := store.RecordUse(t.Context(), []core.Use{{KeyID: used.ID, Time: at}}); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string][]string{
		`last_used_time<"2026-08-01T00:00:00Z"`:                                      {never.ID},
		`last_used_time<"2026-08-01T00:00:01Z"`:                                      {never.ID, used.ID},
		`last_used_time<"2026-08-01T00:00:01Z" AND status=KEY_STATUS_ACTIVE`:         {never.ID, used.ID},
		`status=KEY_STATUS_REVOKED AND last_used_time<"2026-08-01T00:00:01Z"`:        nil,
		`last_used_time<"2026-08-01T00:00:00Z" AND actor_id="` + never.ActorID + `"`: {never.ID},
	} {
		page, err := e.List(t.Context(), engine.ListRequest{Kind: core.Issued, Filter: filter})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range page.Keys {
			got = append(got, k.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
}

func TestParseFilter_ReadsWhatItDocuments(t *testing.T) {
	t.Parallel()
	both := engine.Filter{ActorID: "x", Status: core.StatusActive}
	used := time.Date(2026, 8, 1, 0, 0, 0, 500_000_000, time.UTC)
	for s, want := range map[string]engine.Filter{
		``:                       {},
		`  `:                     {},
		`actor_id="x"`:           {ActorID: "x"},
		`actor_id="x AND y=\"1"`: {ActorID: `x AND y="1`},
		`last_used_time<"2026-08-01T02:00:00.5+02:00"`:               {UsedBefore: used},
		`last_used_time < "2026-08-01T00:00:00.5Z" AND actor_id="x"`: {ActorID: "x", UsedBefore: used},
		`status=KEY_STATUS_ACTIVE AND actor_id="x"`:                  both,
		` actor_id = "x"  AND  status = KEY_STATUS_ACTIVE `:          both,
	} {
		if got, err := engine.ParseFilter(s); err != nil || got != want {
			t.Errorf("%q is %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{
		`actor_id`, `actor_id=`, `actor_id=x`, `actor_id='x'`, `actor_id=""`, `actor_id="x`, `actor_id="x\"`,
		`actor_id="x\n"`,
		`actor_id!="x"`, `actor_id=="x"`, `actor_id:"x"`, `Actor_id="x"`, `NOT actor_id="x"`, `(actor_id="x")`,
		`-actor_id="x"`,
		`actor_id="x" OR actor_id="y"`, `actor_id="x" AND actor_id="x"`, `actor_id="x" and status=KEY_STATUS_ACTIVE`,
		`actor_id="x"AND status=KEY_STATUS_ACTIVE`, `actor_id="x" ANDstatus=KEY_STATUS_ACTIVE`, `actor_id="x" AND`,
		`actor_id="x" AND `, `AND actor_id="x"`, `actor_id="x" status=KEY_STATUS_ACTIVE`,
		`actor_id="x",status=KEY_STATUS_ACTIVE`,
		`status=`, `status=ACTIVE`, `status=key_status_active`, `status=KEY_STATUS_UNSPECIFIED`,
		`status="KEY_STATUS_ACTIVE"`,
		`status=1`, `status=KEY_STATUS_ACTIVE AND status=KEY_STATUS_REVOKED`, `name="x"`, `key_id="x"`,
		`=`, `="x"`, `x`,
		`last_used_time<`, `last_used_time<""`, `last_used_time<"2026-08-01"`, `last_used_time<2026-08-01T00:00:00Z`,
		`last_used_time<="2026-08-01T00:00:00Z"`, `last_used_time>"2026-08-01T00:00:00Z"`,
		`last_used_time="2026-08-01T00:00:00Z"`, `last_used_time<"0001-01-01T00:00:00Z"`,
		`last_used_time<"9999-12-31T23:59:59-01:00"`, `last_used_time<"0001-01-01T00:00:00+01:00"`,
		`last_used_time<"2026-08-01T00:00:00Z" AND last_used_time<"2026-08-01T00:00:00Z"`,
		"actor_id=\"x\"\n", "\tactor_id=\"x\"", `actor_id="` + strings.Repeat("x", engine.MaxFilterLength) + `"`,
	} {
		if got, err := engine.ParseFilter(s); core.ReasonOf(err) != core.BadRequest || err == nil {
			t.Errorf("%q is %+v, %v", s, got, err)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	f.Add(`actor_id="a\"b\\c" AND status=KEY_STATUS_REVOKED`)
	f.Add(` status = KEY_STATUS_EXPIRED `)
	f.Add(`last_used_time<"2026-08-01T02:00:00.123456789+02:00"`)
	f.Add(`actor_id="x" AND`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := engine.ParseFilter(s)
		if err != nil {
			if core.ReasonOf(err) != core.BadRequest || got != (engine.Filter{}) {
				t.Errorf("%q: %+v, %v", s, got, err)
			}
			return
		}
		again, err := engine.ParseFilter(got.String())
		if err != nil || again != got {
			t.Errorf("%q is %+v, which is written %q and read %+v, %v", s, got, got.String(), again, err)
		}
	})
}

// pageToken is the token of the second page of a network's list of imported keys.
func pageToken(t testing.TB, e *engine.Engine, r engine.ListRequest) string {
	t.Helper()
	r.PageSize = 1
	page, err := e.List(t.Context(), r)
	if err != nil || page.NextPageToken == "" {
		t.Fatalf("%+v, %v", page, err)
	}
	return page.NextPageToken
}

func TestAttack20_AForeignPageTokenIsRefused(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, nil)
	theirs := newEngine(t, store, func(c *engine.Config) { c.Network = uuid.New() }) // with the same secret
	for _, e := range []*engine.Engine{e, theirs} {
		for i := range 2 {
			importKey(t, e, strconv.Itoa(i))
			issue(t, e, func(r *engine.IssueRequest) { r.ActorID = "bob" })
		}
	}
	r := engine.ListRequest{Kind: core.Imported}
	token := pageToken(t, e, r)
	filtered := engine.ListRequest{Kind: core.Imported, Filter: `actor_id="bob"`}
	unused := func(since string) engine.ListRequest {
		return engine.ListRequest{Kind: core.Imported, Filter: `last_used_time<"` + since + `T00:00:00Z"`}
	}
	lost := newEngine(t, store, func(c *engine.Config) { c.Keyring = keyring(t, secretB) })
	for name, tt := range map[string]struct {
		e     *engine.Engine
		r     engine.ListRequest
		token string
	}{
		"of another network":      {theirs, r, token},
		"of another kind":         {e, engine.ListRequest{Kind: core.Issued}, token},
		"of another filter":       {e, filtered, token},
		"of a list with a filter": {e, r, pageToken(t, e, filtered)},
		"of another last use":     {e, unused("2026-08-02"), pageToken(t, e, unused("2026-08-01"))},
		"under another secret":    {lost, r, token},
		"cut off":                 {e, r, token[:len(token)-1]},
		"with more":               {e, r, token + "A"},
		"padded":                  {e, r, token + "="},
		"with a line break":       {e, r, token[:10] + "\n" + token[10:]},
		"a number":                {e, r, "1"},
		"of zeros":                {e, r, base64.RawURLEncoding.EncodeToString(make([]byte, 40))},
		"very long":               {e, r, strings.Repeat("A", 1<<20)},
	} {
		tt.r.PageToken = tt.token
		_, err := tt.e.List(t.Context(), tt.r)
		if err == nil || core.ReasonOf(err) != core.BadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range len(token) {
		spoiled := []byte(token)
		spoiled[i]++ // at the end this changes unused bits only: no other spelling is taken
		r.PageToken = string(spoiled)
		if _, err := e.List(t.Context(), r); core.ReasonOf(err) != core.BadRequest || err == nil {
			t.Errorf("another byte %d: %v", i, err)
		}
	}
	r.PageToken = token
	r.PageSize = 10 // may change from page to page
	if page, err := e.List(t.Context(), r); err != nil || len(page.Keys) != 1 {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestList_APageTokenOutlivesARotationOfTheSecret(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, nil)
	importKey(t, e, "a")
	importKey(t, e, "b")
	token := pageToken(t, e, engine.ListRequest{
		Kind: core.Imported, Filter: `actor_id="bob" AND status=KEY_STATUS_ACTIVE`,
	})
	rotated := newEngine(t, store, func(c *engine.Config) { c.Keyring = keyring(t, secretB, secretA) })
	page, err := rotated.List(t.Context(), engine.ListRequest{
		Kind: core.Imported, Filter: ` status=KEY_STATUS_ACTIVE  AND actor_id = "bob"`, PageToken: token,
	})
	if err != nil || len(page.Keys) != 1 {
		t.Errorf("%+v, %v", page, err)
	}
}

func keyring(t testing.TB, current string, retired ...string) *credential.Keyring {
	t.Helper()
	k, err := credential.NewKeyring(current, retired...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func FuzzPageToken(f *testing.F) {
	store := openStore(f)
	e := newEngine(f, store, nil)
	importKey(f, e, "a")
	importKey(f, e, "b")
	good := pageToken(f, e, engine.ListRequest{Kind: core.Imported})
	f.Add(good)
	f.Add(strings.ToLower(good))
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		_, err := e.List(t.Context(), engine.ListRequest{Kind: core.Imported, PageToken: token})
		switch {
		case token == "" || token == good:
			if err != nil {
				t.Error(err)
			}
		case err == nil || core.ReasonOf(err) != core.BadRequest || !utf8.ValidString(err.Error()):
			t.Errorf("%q: %v", token, err)
		}
	})
}
