package adminapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

// askAs asks for events as an edge does.
func (n *node) askAs(edge string, after int, headers ...string) *httptest.ResponseRecorder {
	r := apitest.Request(http.MethodGet, eventsPath+"?after="+strconv.Itoa(after), "")
	r.Header.Set(client.EdgeIDHeader, edge)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return apitest.Serve(n.admin, r)
}

func (n *node) acknowledge(t *testing.T, edge string, after int, headers ...string) {
	t.Helper()
	if w := n.askAs(edge, after, headers...); w.Code != http.StatusOK {
		t.Errorf("%s: %d %s", edge, w.Code, w.Body)
	}
}

// listEdges reads the edges.
func (n *node) listEdges(t *testing.T) client.EdgesResponse {
	t.Helper()
	w := apitest.Get(n.admin, edgesPath)
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	apitest.WantHeaders(t, w)
	return apitest.Unmarshal[client.EdgesResponse](t, w.Body.Bytes())
}

func TestEdgesAreThoseThatAskUnderAName(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changes(t, 3)
	if got := n.listEdges(t); got.Edges == nil || len(got.Edges) != 0 || got.Position != 3 {
		t.Errorf("at first: %+v", got)
	}
	n.events(t, "after", "3")
	n.acknowledge(t, "b", 1, "User-Agent", "talos/v1.2.3", client.EdgeViaHeader, "between")
	n.acknowledge(t, "a", 3)
	got := n.listEdges(t)
	for i := range got.Edges {
		if e := &got.Edges[i]; time.Since(e.LastSeenTime) > time.Hour {
			t.Errorf("%s was last seen at %s", e.EdgeID, e.LastSeenTime)
		}
		got.Edges[i].LastSeenTime = time.Time{}
	}
	if want := []client.EdgeState{
		{EdgeID: "a", Address: "192.0.2.7", Position: 3},
		{EdgeID: "b", Address: "192.0.2.7", Version: "v1.2.3", Position: 1, Lag: 2, Via: "between"},
	}; !slices.Equal(got.Edges, want) {
		t.Errorf("got  %+v\nwant %+v", got.Edges, want)
	}
	n.acknowledge(t, "b", 1, client.EdgeLeavesHeader, "1")
	if got := n.listEdges(t); len(got.Edges) != 1 {
		t.Errorf("after one has ended: %+v", got)
	}
	apitest.WantError(t, apitest.Get(n.admin, edgesPath+"?all=true"), http.StatusBadRequest, core.BadRequest)
}

func TestTheNameOfAnEdgeIsBounded(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, name := range []string{client.EdgeIDHeader, client.EdgeInstanceHeader, client.EdgeViaHeader} {
		for _, value := range []string{strings.Repeat("x", 65), "a,b", " a", "ä"} {
			apitest.WantError(t, n.askAs("edge", 0, name, value), http.StatusBadRequest, core.BadRequest)
		}
	}
}

// A position in another feed, or one that this one has not reached, acknowledges nothing.
func TestAPositionOfAnotherFeedAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changes(t, 3)
	n.acknowledge(t, "other feed", 3, client.FeedIDHeader, "another")
	n.acknowledge(t, "beyond", 4)
	for _, e := range n.listEdges(t).Edges {
		if e.Position != 0 || e.Lag != 3 {
			t.Errorf("got %+v", e)
		}
	}
}

// changesOfAllKinds are a request for each operation that changes a key, with what is to be in place of {id}.
func changesOfAllKinds(t *testing.T, n *node) map[string]func(query string) *http.Request {
	t.Helper()
	request := func(method, path, body string) func(query string) *http.Request {
		return func(query string) *http.Request { return apitest.Request(method, path+query, body) }
	}
	key := func() string { return n.issue(t, "").IssuedAPIKey.KeyID }
	suspended := func() string {
		id := key()
		apitest.Post(n.admin, issuedPath+"/"+id+":suspend", "")
		return id
	}
	imported := func(raw string) string {
		w := apitest.Post(n.admin, importedPath, `{"name":"n","actor_id":"a","raw_key":"`+raw+`"}`)
		return apitest.Unmarshal[client.Key](t, w.Body.Bytes()).KeyID
	}
	return map[string]func(query string) *http.Request{
		"issue":   request("POST", issuedPath, `{"name":"n","actor_id":"a"}`),
		"import":  request("POST", importedPath, `{"name":"n","actor_id":"a","raw_key":"new"}`),
		"update":  request("PATCH", issuedPath+"/"+key(), `{"name":"m"}`),
		"rotate":  request("POST", issuedPath+"/"+key()+":rotate", `{}`),
		"revoke":  request("POST", issuedPath+"/"+key()+":revoke", `{}`),
		"suspend": request("POST", issuedPath+"/"+key()+":suspend", ``),
		"resume":  request("POST", issuedPath+"/"+suspended()+":resume", ``),
		"lineage": request("POST", issuedPath+"/"+key()+":revoke", `{}`),
		"of any":  request("POST", anyPath+"/"+key()+":revoke", `{}`),
		"delete":  request("DELETE", importedPath+"/"+imported("deleted"), ""),
		"several": request("POST", importedPath+":batchCreate",
			`{"requests":[{"name":"n","actor_id":"a","raw_key":"of several"}]}`),
	}
}

func TestEachChangeCanWaitForTheEdges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		for name, request := range changesOfAllKinds(t, n) {
			before := int(n.engine.Applied())
			n.acknowledge(t, "fast", before)
			n.acknowledge(t, "slow", before)
			began := time.Now()
			go func() {
				synctest.Wait()
				after := int(n.engine.Applied())
				n.acknowledge(t, "fast", after)
				time.Sleep(30 * time.Millisecond)
				n.acknowledge(t, "slow", after)
			}()
			query := "?wait=5s"
			if name == "lineage" {
				query += "&lineage=true"
			}
			w := apitest.Serve(n.admin, request(query))
			if w.Code != http.StatusOK || w.Header().Get("Talos-Confirmed") != "2" ||
				w.Header().Get("Talos-Unconfirmed") != "0" || w.Header().Get("Talos-Unconfirmed-Edges") != "" {
				t.Errorf("%s: %d %v %s", name, w.Code, w.Header(), w.Body)
			}
			wantTook(t, began, 30*time.Millisecond)
		}
	})
}

func TestAWaitThatIsOverNamesWhoHasNotConfirmed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		for i := range 12 {
			n.acknowledge(t, fmt.Sprintf("edge-%02d", i), 0)
		}
		n.acknowledge(t, "quick", 0)
		began := time.Now()
		go func() {
			synctest.Wait()
			n.acknowledge(t, "quick", 1)
		}()
		w := apitest.Serve(n.admin, apitest.Request("POST", issuedPath+"?wait=1s", `{"name":"n","actor_id":"a"}`))
		wantTook(t, began, time.Second)
		names := strings.Split(w.Header().Get("Talos-Unconfirmed-Edges"), ", ")
		if w.Code != http.StatusOK || w.Header().Get("Talos-Confirmed") != "1" ||
			w.Header().Get("Talos-Unconfirmed") != "12" || len(names) != 10 || names[0] != "edge-00" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
		if n.store.Written() != 1 {
			t.Error("the change was not made")
		}
	})
}

// What was not changed is not waited for.
func TestARefusedChangeDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.acknowledge(t, "edge", 0)
		began := time.Now()
		w := apitest.Post(n.admin, anyPath+"/"+unknownUUID+":revoke?wait=5s", `{}`)
		apitest.WantError(t, w, http.StatusNotFound, core.KeyNotFound)
		wantTook(t, began, 0)
	})
}

func TestAWaitThatIsNoneChangesNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, wait := range []string{"31s", "-1s", "5", "soon", "1s&wait=2s"} {
		w := apitest.Serve(n.admin, apitest.Request("POST", issuedPath+"?wait="+wait, `{"name":"n","actor_id":"a"}`))
		apitest.WantError(t, w, http.StatusBadRequest, core.BadRequest)
	}
	if n.store.Written() != 0 {
		t.Error("a key was made")
	}
}

// The public surface makes nobody wait: whoever may call it could hold connections open.
func TestAHolderDoesNotWaitForTheEdges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		secret := n.issue(t, "").Secret
		n.acknowledge(t, "edge", 0)
		began := time.Now()
		w := apitest.Post(n.publicHandler(), selfRevokePath+"?wait=5s", `{"credential":"`+secret+`"}`)
		if wantTook(t, began, 0); w.Code != http.StatusOK || w.Header().Get("Talos-Confirmed") != "" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	})
}

// verifyFrom verifies with a position that the answer must not be older than.
func (n *node) verifyFrom(cred, position string) *httptest.ResponseRecorder {
	r := apitest.Request("POST", anyPath+":verify", `{"credential":"`+cred+`"}`)
	r.Header.Set("Talos-Min-Position", position)
	return apitest.Serve(n.admin, r)
}

func TestAVerificationWaitsForAPosition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		secret := n.issue(t, "").Secret
		for _, reached := range []string{"0", "1"} {
			if w := n.verifyFrom(secret, reached); w.Code != http.StatusOK {
				t.Errorf("%s: %d %s", reached, w.Code, w.Body)
			}
		}
		began := time.Now()
		go func() {
			time.Sleep(300 * time.Millisecond)
			n.issue(t, "")
		}()
		if w := n.verifyFrom(secret, "2"); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		wantTook(t, began, 300*time.Millisecond)
		w := n.verifyFrom(secret, "99")
		apitest.WantError(t, w, http.StatusServiceUnavailable, core.Unavailable)
		for _, none := range []string{"-1", "x", "1.5"} {
			apitest.WantError(t, n.verifyFrom(secret, none), http.StatusBadRequest, core.BadRequest)
		}
		r := apitest.Request("POST", anyPath+":batchVerify", `{"requests":[{"credential":"`+secret+`"}]}`)
		r.Header.Set("Talos-Min-Position", "99")
		apitest.WantError(t, apitest.Serve(n.admin, r), http.StatusServiceUnavailable, core.Unavailable)
	})
}
