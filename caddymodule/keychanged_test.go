package caddymodule_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() { //nolint:gochecknoinits // the way in which modules of Caddy make themselves known
	caddy.RegisterModule(new(changeHandler))
}

// changeHandler is a handler of Caddy's events that hands them to a test, one at a time.
type changeHandler struct{}

var handled = make(chan map[string]any)

func (*changeHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.hand_to_test", New: func() caddy.Module { return new(changeHandler) }}
}

func (*changeHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

// Handle waits for the test, and fails: neither is of concern to the node.
func (*changeHandler) Handle(ctx context.Context, e caddy.Event) error {
	if e.Origin().CaddyModule().ID != "talos" {
		return errors.New("the event is not from the node")
	}
	data := maps.Clone(e.Data)
	if r, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		data["placeholder"] = r.ReplaceAll("{event.data.key_id}", "")
	}
	select {
	case handled <- data:
		return errors.New("a handler that fails")
	case <-ctx.Done():
		return ctx.Err()
	}
}

const handlesChanges = "talos {\nstorage sqlite://FOLDER/a.db\n}\nevents {\non talos_key_changed hand_to_test\n}"

func TestEachChangeIsAnEventOfCaddyWhileItsHandlersAreSlow(t *testing.T) {
	s := newSolo(t)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/a.db\n}", onlyAdmin)
	s.issue() // before anybody subscribes
	s.mustLoad(handlesChanges, onlyAdmin)
	var ids []string
	for range 5 { // the first event is being handled, and no request waits for it
		id, secret := s.issue()
		ids = append(ids, id)
		if got := s.gated(secret); got.status != http.StatusOK {
			t.Fatalf("%d: %s", got.status, got.body)
		}
	}
	for i, id := range ids {
		data := <-handled
		for field, want := range map[string]any{
			"type": "IssuedAPIKeyCreated", "key_id": id, "key_type": "issued", "actor_id": "someone", "reason": "",
			"caller_kind": "address", "caller_id": "127.0.0.1", "placeholder": id,
		} {
			if data[field] != want {
				t.Errorf("event %d: %s is %v, want %v", i, field, data[field], want)
			}
		}
	}
}

func TestAReloadAndAStopWaitForNoHandlerOfChanges(t *testing.T) {
	s := newSolo(t)
	s.mustLoad(handlesChanges, onlyAdmin)
	s.issue()
	s.mustLoad(handlesChanges, onlyAdmin)
	s.issue()
	s.stop()
}

func TestAReloadHandsTheChangesThatWereNotHandledToTheNextConfiguration(t *testing.T) {
	s := newSolo(t)
	s.mustLoad(handlesChanges, onlyAdmin)
	var ids []string
	for range 3 { // two reloads, in which the first event is being handled
		id, _ := s.issue()
		ids = append(ids, id)
		s.mustLoad(handlesChanges, onlyAdmin)
	}
	for i, id := range ids {
		if data := <-handled; data["key_id"] != id {
			t.Errorf("event %d is of %v, want %s", i, data["key_id"], id)
		}
	}
}

func TestChangesWithoutAHandlerAreNotHandledLater(t *testing.T) {
	s := newSolo(t)
	s.mustLoad(handlesChanges, onlyAdmin)
	s.issue()
	s.mustLoad("talos {\nstorage sqlite://FOLDER/a.db\n}", onlyAdmin)
	s.issue()
	s.mustLoad(handlesChanges, onlyAdmin)
	id, _ := s.issue()
	if data := <-handled; data["key_id"] != id {
		t.Errorf("got %v", data)
	}
}
