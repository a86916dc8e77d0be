package caddymodule_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// events are all that the API lists.
func (s *solo) events() (all []client.Event) {
	s.t.Helper()
	api, err := client.New(s.endpoint)
	if err != nil {
		s.t.Fatal(err)
	}
	defer api.Close()
	for e, err := range api.Events(s.t.Context(), client.EventsRequest{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// post sends a body to the API, with the credential of a key if there is one.
func (s *solo) post(path, body, credential string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.endpoint+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-Id", "request-1")
	if credential != "" {
		req.Header.Set("Authorization", "Bearer "+credential)
	}
	if got := exchange(s.t, req); got.status != http.StatusOK {
		s.t.Fatalf("%s: %d %s", path, got.status, got.body)
	}
}

func TestTheFeedNamesWhoMadeEachChange(t *testing.T) {
	s := newSolo(t)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/a.db\n}", `http://:PORT {
			bind 127.0.0.1
			talos_gate {
				optional
			}
			talos_admin
		}`)
	callerID, caller := s.issue()
	id, secret := s.issue()
	s.post("/v2alpha1/admin/issuedApiKeys/"+id+":revoke", "{}", caller)
	s.post(selfRevokePath, `{"credential":"`+caller+`"}`, "")
	all := s.events()
	if len(all) != 4 {
		t.Fatalf("got %+v", all)
	}
	for i, want := range []struct {
		kind, keyID string
		caller      client.Caller
		user        string
	}{
		{"IssuedAPIKeyCreated", callerID, client.Caller{Kind: client.CallerAddress, ID: "127.0.0.1"}, ""},
		{"IssuedAPIKeyCreated", id, client.Caller{Kind: client.CallerAddress, ID: "127.0.0.1"}, ""},
		{"IssuedAPIKeyRevoked", id, client.Caller{Kind: client.CallerKey, ID: callerID}, callerID},
		{"IssuedAPIKeyRevoked", callerID, client.Caller{Kind: client.CallerHolder, ID: "127.0.0.1"}, ""},
	} {
		e := all[i]
		if e.Type != want.kind || e.KeyID != want.keyID || *e.Caller != want.caller || e.ActorID != "someone" ||
			e.Metadata == nil || e.Metadata.User != want.user || e.Metadata.RequestID == "" ||
			i > 1 && e.Metadata.RequestID != "request-1" {
			t.Errorf("event %d is %+v by %+v, %+v", i, e, e.Caller, e.Metadata)
		}
		if strings.Contains(e.KeyID, secret) {
			t.Error("the feed has a credential")
		}
	}
}

// A reader of the feed may wait for ever, and would keep the old configuration.
func TestAReloadEndsThoseWhoWatchTheFeed(t *testing.T) {
	s := newSolo(t)
	load := func(options string) {
		t.Helper()
		text := s.text("talos {\nstorage sqlite://FOLDER/a.db\n"+options+"\n}", onlyAdmin)
		if err := caddy.Load(adapt(t, strings.Replace(text, "grace_period 5s", "", 1)), true); err != nil {
			t.Fatal(err)
		}
	}
	load("")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.endpoint+"/v2alpha1/admin/events:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := newClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	stream := bufio.NewReader(res.Body)
	if line, err := stream.ReadString('\n'); err != nil || !strings.HasPrefix(line, ":") {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	id, _ := s.issue()
	if line, err := stream.ReadString('{'); err != nil || !strings.Contains(line, "IssuedAPIKeyCreated") {
		t.Fatalf("of the key %s the stream has %q, %v", id, line, err)
	}
	load("default_ttl 1h")
	if _, err := io.Copy(io.Discard, stream); err != nil {
		t.Errorf("the stream does not end as it should: %v", err)
	}
}
