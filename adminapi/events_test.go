package adminapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

// events reads a page of events. The query is name, value, name, value and so on.
func (n *node) events(t *testing.T, query ...string) client.EventsResponse {
	t.Helper()
	w := apitest.Get(n.admin, eventsURL(query...))
	if w.Code != http.StatusOK {
		t.Fatalf("%q: %d %s", query, w.Code, w.Body)
	}
	apitest.WantHeaders(t, w)
	return apitest.Unmarshal[client.EventsResponse](t, w.Body.Bytes())
}

func eventsURL(query ...string) string {
	values := url.Values{}
	for i := 0; i < len(query); i += 2 {
		values.Add(query[i], query[i+1])
	}
	return eventsPath + "?" + values.Encode()
}

// eventsOf asks for events of a feed.
func (n *node) eventsOf(t *testing.T, feedID string, query ...string) client.EventsResponse {
	t.Helper()
	r := apitest.Request(http.MethodGet, eventsURL(query...), "")
	r.Header.Set(client.FeedIDHeader, feedID)
	w := apitest.Serve(n.admin, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%q: %d %s", query, w.Code, w.Body)
	}
	return apitest.Unmarshal[client.EventsResponse](t, w.Body.Bytes())
}

// positionsOf are the positions of a page's events.
func positionsOf(page *client.EventsResponse) (all []int) {
	for i := range page.Events {
		all = append(all, int(page.Events[i].Position))
	}
	return all
}

// age is the time that a page was complete before it was written.
func age(t *testing.T, page *client.EventsResponse) time.Duration {
	t.Helper()
	d, err := core.ParseDuration(page.CompleteAge)
	if err != nil {
		t.Fatalf("complete_age: %v", err)
	}
	return d
}

// changes makes a number of changes: keys that are issued.
func (n *node) changes(t *testing.T, number int) {
	t.Helper()
	for range number {
		n.issue(t, "")
	}
}

// ofOthers makes changes of another network.
func (n *node) ofOthers(number int) {
	for range number {
		n.store.Append(feed.Event{Network: uuid.New(), KeyID: "theirs", Kind: feed.EventCreated, Time: time.Now()})
	}
}

func TestEventsAreReadPageAfterPage(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changes(t, 5)
	after := "0"
	for i, want := range [][]int{{1, 2}, {3, 4}, {5}, nil} {
		page := n.events(t, "after", after, "page_size", "2")
		if !slices.Equal(positionsOf(&page), want) || page.Reset || page.FeedID == "" {
			t.Errorf("page %d is %+v", i, page)
		}
		if last := i >= 2; (page.CompleteAge != "") != last {
			t.Errorf("page %d has complete_age %q", i, page.CompleteAge)
		}
		after = strconv.FormatUint(uint64(page.Position), 10)
	}
	if after != "5" {
		t.Errorf("the last position is %s", after)
	}
}

func TestAPageOfEventsHasAHundredUnlessMoreAreAskedFor(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for range core.MaxEvents + 1 {
		n.store.Append(feed.Event{KeyID: "k", Kind: feed.EventUpdated})
	}
	for size, want := range map[string]int{"": 100, "0": 100, "1": 1, "1000": 1000, "1001": 1000, "2147483647": 1000} {
		page := n.events(t, "page_size", size)
		if len(page.Events) != want || page.CompleteAge != "" || int(page.Position) != want {
			t.Errorf("page_size %q: %d events up to %d, %q", size, len(page.Events), page.Position, page.CompleteAge)
		}
	}
}

func TestAnEmptyFeedIsAnEmptyPage(t *testing.T) {
	t.Parallel()
	w := apitest.Get(newNode(t).admin, eventsPath)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"position":"0"`) ||
		!strings.Contains(w.Body.String(), `"events":[]`) || strings.Contains(w.Body.String(), "reset") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestEachChangeIsAnEventOfItsType(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	key := n.issue(t, "").IssuedAPIKey.KeyID
	imported := func(raw string) string {
		w := apitest.Post(n.admin, importedPath, `{"raw_key":"`+raw+`","name":"n","actor_id":"b"}`)
		return importedPath + "/" + apitest.Unmarshal[client.Key](t, w.Body.Bytes()).KeyID
	}
	first := imported("first")
	apitest.Patch(n.admin, issuedPath+"/"+key, "", `{"name":"m"}`)
	apitest.Patch(n.admin, first, "", `{"name":"m"}`)
	apitest.Post(n.admin, issuedPath+"/"+key+":revoke", `{"reason":"REVOCATION_REASON_KEY_COMPROMISE"}`)
	apitest.Post(n.admin, first+":revoke", "")
	apitest.Serve(n.admin, apitest.Request(http.MethodDelete, first, ""))
	page := n.events(t)
	want := []client.Event{
		{Type: "IssuedAPIKeyCreated", KeyType: "issued"},
		{Type: "ImportedAPIKeyCreated", KeyType: "imported"},
		{Type: "IssuedAPIKeyUpdated", KeyType: "issued"},
		{Type: "ImportedAPIKeyUpdated", KeyType: "imported"},
		{Type: "IssuedAPIKeyRevoked", KeyType: "issued", Reason: client.RevocationReasonKeyCompromise},
		{Type: "ImportedAPIKeyRevoked", KeyType: "imported", Reason: client.RevocationReasonUnspecified},
		{Type: "ImportedAPIKeyDeleted", KeyType: "imported"},
	}
	if len(page.Events) != len(want) {
		t.Fatalf("got %+v", page.Events)
	}
	for i, w := range want {
		w.KeyID, w.ActorID = key, "a"
		if w.KeyType == "imported" {
			w.KeyID, w.ActorID = strings.TrimPrefix(first, importedPath+"/"), "b"
		}
		e := page.Events[i]
		if e.Type != w.Type || e.KeyType != w.KeyType || e.KeyID != w.KeyID || e.ActorID != w.ActorID ||
			e.Reason != w.Reason || e.Time.IsZero() || e.Time.Location() != time.UTC {
			t.Errorf("event %d is %+v, want %+v", i, e, w)
		}
	}
}

func TestARotationIsTwoEventsThatNameEachOther(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	old := n.issue(t, "").IssuedAPIKey.KeyID
	w := apitest.Post(n.admin, issuedPath+"/"+old+":rotate", "")
	fresh := apitest.Unmarshal[client.RotateResponse](t, w.Body.Bytes()).IssuedAPIKey.KeyID
	page := n.events(t, "after", "1")
	byType := map[string]client.Event{}
	for _, e := range page.Events {
		byType[e.Type] = e
	}
	rotated, created := byType["IssuedAPIKeyRotated"], byType["IssuedAPIKeyCreated"]
	if len(page.Events) != 2 || rotated.Metadata == nil || created.Metadata == nil {
		t.Fatalf("got %+v", page.Events)
	}
	if rotated.KeyID != old || rotated.Metadata.SuccessorKeyID != fresh || rotated.Metadata.PredecessorKeyID != "" ||
		rotated.Reason != client.RevocationReasonSuperseded {
		t.Errorf("of the old key: %+v %+v", rotated, rotated.Metadata)
	}
	if created.KeyID != fresh || created.Metadata.PredecessorKeyID != old || created.Metadata.SuccessorKeyID != "" ||
		created.Reason != "" {
		t.Errorf("of the new key: %+v %+v", created, created.Metadata)
	}
}

func TestAnEventNamesWhoMadeTheChange(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	secret := n.issue(t, "").Secret
	for _, origin := range []Origin{
		{KeyID: "operator-key", Certificate: "CN=ignored", User: "operator-key", RequestID: "request-2"},
		{Certificate: "CN=deploy,O=Example"},
		{},
		{User: strings.Repeat("é", 200), RequestID: "a\xffb"},
	} {
		n.origin = origin
		n.issue(t, "")
	}
	n.from(netip.Addr{})
	address := client.Caller{Kind: client.CallerAddress, ID: "192.0.2.7"}
	long := client.EventMetadata{RequestID: "ab", User: strings.Repeat("é", maxCallerText/2)}
	apitest.Post(n.publicHandler(), selfRevokePath, `{"credential":"`+secret+`"}`)
	want := []struct {
		caller   client.Caller
		metadata client.EventMetadata
	}{
		{address, client.EventMetadata{RequestID: "request-1", User: "operator-1"}},
		{
			client.Caller{Kind: client.CallerKey, ID: "operator-key"},
			client.EventMetadata{RequestID: "request-2", User: "operator-key"},
		},
		{client.Caller{Kind: client.CallerCertificate, ID: "CN=deploy,O=Example"}, client.EventMetadata{}},
		{address, client.EventMetadata{}},
		{address, long},
		{client.Caller{Kind: client.CallerHolder, ID: "unknown"}, long},
	}
	page := n.events(t)
	if len(page.Events) != len(want) {
		t.Fatalf("got %+v", page.Events)
	}
	for i, w := range want {
		e := page.Events[i]
		if e.Caller == nil || *e.Caller != w.caller {
			t.Errorf("event %d is by %+v, want %+v", i, e.Caller, w.caller)
		}
		if got := e.Metadata; got == nil && w.metadata != (client.EventMetadata{}) || got != nil && *got != w.metadata {
			t.Errorf("event %d has %+v, want %+v", i, got, w.metadata)
		}
	}
}

func TestAnEventOfAnEarlierBuildHasNoCaller(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.store.Append(feed.Event{KeyID: "k", Kind: feed.EventRevoked, Caller: feed.Caller{Kind: feed.CallerUnknown}})
	n.store.Append(feed.Event{KeyID: "k", Kind: feed.EventRevoked, Caller: feed.Caller{Kind: feed.CallerSystem}})
	page := n.events(t)
	if page.Events[0].Caller != nil || page.Events[0].Metadata != nil {
		t.Errorf("got %+v", page.Events[0])
	}
	if by := page.Events[1].Caller; by == nil || *by != (client.Caller{Kind: client.CallerSystem}) {
		t.Errorf("got %+v", by)
	}
}

func TestAFilterKeepsEventsBackAndThePositionPassesThem(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	moment := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for i, e := range []feed.Event{
		{KeyID: "one", ActorID: "alice", Kind: feed.EventCreated, KeyKind: uint8(core.Issued)},
		{KeyID: "two", ActorID: `b"b\`, Kind: feed.EventCreated, KeyKind: uint8(core.Imported)},
		{KeyID: "one", ActorID: "alice", Kind: feed.EventRevoked, KeyKind: uint8(core.Issued)},
		{KeyID: "two", ActorID: "alice", Kind: feed.EventRevoked, KeyKind: uint8(core.Imported)},
	} {
		e.Time = moment.Add(time.Duration(i) * time.Hour)
		n.store.Append(e)
	}
	for filter, want := range map[string][]int{
		``:                                 {1, 2, 3, 4},
		`key_id="one"`:                     {1, 3},
		`actor_id="alice"`:                 {1, 3, 4},
		`actor_id="b\"b\\"`:                {2},
		`type="IssuedAPIKeyRevoked"`:       {3},
		`type="ImportedAPIKeyCreated"`:     {2},
		`time>="2026-11-01T13:00:00Z"`:     {2, 3, 4},
		`time<"2026-11-01T13:00:00Z"`:      {1},
		`time<"2026-11-01T15:00:00+02:00"`: {1},
		`key_id="one" AND actor_id="alice" AND type="IssuedAPIKeyRevoked" AND time>="2026-11-01T14:00:00Z" AND ` +
			`time<"2026-11-01T14:00:00.001Z"`: {3},
		`time>="2026-11-01T13:00:00Z" AND time<"2026-11-01T15:00:00Z"`: {2, 3},
		`key_id="nobody's"`: nil,
	} {
		page := n.events(t, "filter", filter)
		if !slices.Equal(positionsOf(&page), want) || page.Position != 4 || page.CompleteAge == "" {
			t.Errorf("%s: %v up to %d, %q", filter, positionsOf(&page), page.Position, page.CompleteAge)
		}
	}
}

func TestAttack02_AnotherNetworksEventsAreNotShown(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ofOthers(3)
	n.changes(t, 1)
	n.ofOthers(2)
	for _, filter := range []string{"", `key_id="theirs"`, `type="IssuedAPIKeyCreated"`} {
		page := n.events(t, "filter", filter)
		for _, e := range page.Events {
			if e.Position != 4 {
				t.Errorf("filter %q shows %+v", filter, e)
			}
		}
		if page.Position != 6 || page.CompleteAge == "" {
			t.Errorf("filter %q: %+v", filter, page)
		}
	}
	if got := readStream(t, n.watchOnce(t, eventsPath+":watch").Body.String()); len(got) != 1 || got[0].id != "4" {
		t.Errorf("the stream has %+v", got)
	}
}

func TestARequestForEventsThatIsNotWellFormedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changes(t, 1)
	for query, want := range map[string]string{
		"limit=1":                      `"limit": there is no such parameter; there are after, wait, page_size, filter`,
		"Filter=x":                     `"Filter": there is no such parameter`,
		strings.Repeat("x", 500) + "=": "there is no such parameter",
		"after=1&after=2":              "after: is more than once in the query; give it once",
		"wait=1s&wait=1s":              "wait: is more than once",
		"page_size=1&page_size=1":      "page_size: is more than once",
		"filter=&filter=":              "filter: is more than once",
		"after=-1":                     "after: must be a position such as 42",
		"after=x":                      "after: must be a position such as 42",
		"after=1.5":                    "after: must be a position such as 42",
		"after=18446744073709551616":   "after: must be a position such as 42",
		"wait=10":                      "wait: must be a duration such as",
		"wait=-1s":                     "wait: must be a duration such as",
		"wait=x":                       "wait: must be a duration such as",
		"wait=30.001s":                 "wait: must lie between 0s and 30s",
		"wait=1y":                      "wait: must lie between 0s and 30s",
		"page_size=-1":                 "page_size: must not be negative",
		"page_size=x":                  "page_size: must be a whole number such as 100",
		"page_size=9999999999":         "page_size: must be a whole number such as 100",
		"filter=x":                     "filter: there is no such condition (for example: ",
		"filter=" + url.QueryEscape(`type="Revoked"`):             "filter: type is one of APIKeyResumed, ",
		"filter=time%3E%3D%22yesterday%22":                        `filter: time>= has a time such as "2026-`,
		"filter=" + url.QueryEscape(`key_id="a" AND key_id="b"`):  "filter: key_id is in it twice",
		"filter=" + url.QueryEscape(`key_id="a" OR actor_id="b"`): "filter: after a condition comes AND",
		"filter=" + strings.Repeat("x", 9000):                     "filter: must not be longer than 8192 bytes",
		"filter=%zz":                                              "the query of the URL is malformed",
	} {
		w := apitest.Get(n.admin, eventsPath+"?"+query)
		e := apitest.WantError(t, w, http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, want) || len(e.Message) > 400 {
			t.Errorf("%.80s: %q, want %q", query, e.Message, want)
		}
	}
}

func TestEventsOfAStorageThatDoesNotAnswerAreUnavailable(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.store.SetDown(apitest.ErrDown())
	for _, path := range []string{eventsPath, eventsPath + "?wait=30s", eventsPath + ":watch"} {
		apitest.WantError(t, apitest.Get(n.admin, path), http.StatusServiceUnavailable, core.Unavailable)
	}
}

func TestTheHeadOfTheEventsIsThatOfTheirList(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changes(t, 1)
	if w := apitest.Serve(n.admin, apitest.Request(http.MethodHead, eventsPath, "")); w.Code != http.StatusOK {
		t.Errorf("got %d", w.Code)
	}
}

func TestEventsAreNotOnThePublicSurface(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changes(t, 1)
	for _, target := range []string{
		eventsPath, eventsPath + ":watch",
		"//v2alpha1/admin/events", "/v2alpha1/admin/%65vents", "/V2alpha1/admin/Events",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			w := apitest.Serve(n.publicHandler(), readRequest(t, method, target))
			apitest.WantError(t, w, http.StatusNotFound, core.NotFound)
		}
	}
}

// watchOnce reads of a stream what is there at once. More headers are name, value, name, value and so on.
func (n *node) watchOnce(t *testing.T, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := apitest.Request(http.MethodGet, path, "").WithContext(ctx)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return apitest.Serve(n.admin, r)
}
