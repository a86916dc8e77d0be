package adminapi

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// list reads all pages of a list.
func list(t *testing.T, h http.Handler, path string, query url.Values) (ids []string, pages int) {
	t.Helper()
	for {
		w := apitest.Get(h, path+"?"+query.Encode())
		if w.Code != http.StatusOK {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		apitest.WantHeaders(t, w)
		page := apitest.Unmarshal[struct {
			client.ListIssuedResponse
			Imported []client.Key `json:"imported_api_keys"`
		}](t, w.Body.Bytes())
		for _, k := range append(page.IssuedAPIKeys, page.Imported...) {
			ids = append(ids, k.KeyID)
		}
		pages++
		if page.NextPageToken == "" {
			return ids, pages
		}
		query.Set("page_token", page.NextPageToken)
	}
}

func TestTheLongestPageIsOneThatTheClientReads(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\x01", core.MaxNameLength) // six bytes each
	key := core.Key{
		ID: strings.Repeat("f", core.MaxKeyIDLength), Kind: core.Imported, Name: long, ActorID: long,
		Scopes:   slices.Repeat([]string{"a"}, core.MaxScopesLength/2),
		Metadata: []byte(`{"a":"` + strings.Repeat("x", core.MaxMetadataLength-8) + `"}`),
		AllowedCIDRs: slices.Repeat(
			[]netip.Prefix{netip.MustParsePrefix("2001:db8:1111:2222:3333:4444:5555:6666/128")}, core.MaxCIDRs),
		RateLimit:             core.RateLimitPolicy{Quota: 1, Unit: long[:core.MaxRateLimitUnit], Window: time.Second},
		Status:                core.StatusRevoked,
		RevocationDescription: long[:core.MaxDescriptionLength],
	}
	one := len(apitest.Marshal(t, record(&key, time.Now())))
	if page := one * engine.MaxPageSize; page > client.MaxAnswer*9/10 {
		t.Errorf("a page is %d bytes long, of %d that the client reads", page, client.MaxAnswer)
	}
}

func TestListsAreInTheOrderOfCreationPageByPage(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var issued, imported, ofB, revoked []string
	for i := range 7 {
		actor := []string{"a", "b"}[i%2]
		k := n.issue(t, `,"request_id":"`+strconv.Itoa(i)+`"`).IssuedAPIKey.KeyID
		issued = append(issued, k)
		id := n.importKey(t, fmt.Sprintf("raw %d", i), "").KeyID
		imported = append(imported, id)
		if actor == "b" {
			apitest.Post(n.admin, anyPath+"/"+k+":revoke", "")
			revoked = append(revoked, k)
		}
	}
	w := apitest.Post(n.admin, importedPath, `{"raw_key":"of b","name":"n","actor_id":"b \"quoted\""}`)
	ofB = append(ofB, apitest.Unmarshal[client.Key](t, w.Body.Bytes()).KeyID)
	for name, tc := range map[string]struct {
		path  string
		query url.Values
		want  []string
		pages int
	}{
		"all issued": {issuedPath, url.Values{}, issued, 1},
		"of two":     {issuedPath, url.Values{"page_size": {"2"}}, issued, 4},
		"of seven":   {issuedPath, url.Values{"page_size": {"7"}}, issued, 1},
		"of many":    {issuedPath, url.Values{"page_size": {"2147483647"}}, issued, 1},
		"the default": {
			importedPath,
			url.Values{"page_size": {"0"}, "page_token": {""}, "filter": {""}},
			slices.Concat(imported, ofB),
			1,
		},
		"by actor": {importedPath, url.Values{"filter": {`actor_id="b \"quoted\""`}}, ofB, 1},
		"by status": {
			issuedPath, url.Values{"filter": {"status=KEY_STATUS_REVOKED"}, "page_size": {"1"}}, revoked, 3,
		},
		"by both": {
			issuedPath, url.Values{"filter": {`status=KEY_STATUS_REVOKED AND actor_id="a"`}}, revoked, 1,
		},
		"nothing":                          {issuedPath, url.Values{"filter": {`actor_id="nobody"`}}, nil, 1},
		"what is not known is passed over": {issuedPath, url.Values{"x": {"1", "2"}}, issued, 1},
	} {
		if got, pages := list(t, n.admin, tc.path, tc.query); !slices.Equal(got, tc.want) || pages != tc.pages {
			t.Errorf("%s: got %q on %d pages, want %q on %d", name, got, pages, tc.want, tc.pages)
		}
	}
	w = apitest.Get(n.admin, issuedPath+"?filter="+url.QueryEscape(`actor_id="nobody"`))
	if w.Body.String() != `{"issued_api_keys":[]}`+"\n" {
		t.Errorf("an empty list is %s", w.Body)
	}
}

func TestAListRefusesWhatItCannotMean(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.issue(t, "")
	n.issue(t, "")
	w := apitest.Get(n.admin, issuedPath+"?page_size=1")
	token := apitest.Unmarshal[client.ListIssuedResponse](t, w.Body.Bytes()).NextPageToken
	if token == "" {
		t.Fatalf("got %s", w.Body)
	}
	for query, field := range map[string]string{
		"page_size=-1": "page_size", "page_size=x": "page_size", "page_size=1.5": "page_size",
		"page_size=2147483648": "page_size", "page_size=1&page_size=2": "page_size",
		"page_token=x": "page_token", "page_token=" + token + "&page_token=": "page_token",
		"page_token=" + token + "x": "page_token", "filter=x": "filter", "filter=status%3DACTIVE": "filter",
		"filter=a&filter=b": "filter", "filter=%zz": "query", "filter=status%3DKEY_STATUS_ACTIVE;page_size=1": "query",
		"filter=status%3DKEY_STATUS_ACTIVE&page_token=" + token: "page_token",
	} {
		r := apitest.Request(http.MethodGet, issuedPath, "")
		r.URL.RawQuery = query
		e := apitest.WantError(t, apitest.Serve(n.admin, r), http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, field) {
			t.Errorf("%s: the message %q does not name %s", query, e.Message, field)
		}
	}
	apitest.WantError(t, apitest.Get(n.admin, importedPath+"?page_token="+token),
		http.StatusBadRequest, core.BadRequest)
}

func FuzzListQuery(f *testing.F) {
	for _, seed := range []string{
		"page_size=1&page_token=x", `filter=actor_id%3D"x"`, "page_size=-1",
		"filter=status%3DKEY_STATUS_ACTIVE AND x", "%", ";",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r := apitest.Request(http.MethodGet, issuedPath, "")
		r.URL.RawQuery = raw
		in, err := listRequest(r, core.Issued)
		if err == nil {
			_, err = newNode(t).engine.List(t.Context(), in)
		}
		if err != nil && core.ReasonOf(err) != core.BadRequest {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}
