package caddymodule_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// A key's end is acknowledged by the call that ends it. Whatever request begins after that is refused, and until the
// call was made none is: on an embedded node, and on a sidecar through which the call goes.
func TestAttack05_Campaign_NothingIsAdmittedAfterAKeysEnd(t *testing.T) {
	c := newCampaign(t)
	t.Run("embedded", func(t *testing.T) {
		e := startEdge(t, edgeConfig{Site: "talos_gate\nrespond ok"})
		c.raceRevocations(t, e.addr, "/", e.admin)
	})
	t.Run("sidecar", func(t *testing.T) {
		far := httptest.NewServer(newFarNode(t).handler)
		defer far.Close()
		s := startSidecar(t, far.URL, "", "")
		c.raceRevocations(t, s.addr, "/gated", s.addr)
	})
}

// victim is a key that will be ended. ending is set before the call that ends it, and ended when it is acknowledged.
type victim struct {
	what          string
	request       string
	end           func() error
	ending, ended atomic.Bool
}

// raceRevocations has clients ask with keys of which one after the other is ended and replaced.
func (c campaign) raceRevocations(t *testing.T, gate, path, admin string) {
	t.Helper()
	const clients, keys, pace = 16, 16, 100 // requests for each end of a key
	total := c.size(10_000, 2_500_000)
	api, err := client.New("http://"+admin, client.WithTransport(newPlainClient(t).Transport))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	var slots [keys]atomic.Pointer[victim]
	for i := range slots {
		slots[i].Store(newVictim(t, api, i, path))
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var sent, admitted, refused, late, early atomic.Int64
	ticks := make(chan struct{}, 1)
	var all sync.WaitGroup
	var done atomic.Int64 // keys that have been ended
	more := func() bool { return ctx.Err() == nil && (sent.Load() < int64(total) || done.Load() < keys) }
	for n := range clients {
		all.Go(func() {
			random, a := c.random(uint64(n)), newAttacker(t, gate)
			defer a.hangUp()
			for more() {
				v := slots[random.IntN(keys)].Load()
				ended := v.ended.Load() // before the request begins
				status, _, err := a.ask(v.request)
				ending := v.ending.Load() // after its answer
				switch {
				case err != nil:
					t.Errorf("%s: %v", v.what, err)
					return
				case status == http.StatusOK && ended:
					late.Add(1)
				case status == http.StatusOK:
					admitted.Add(1)
				case status == http.StatusUnauthorized && !ending:
					early.Add(1)
				case status == http.StatusUnauthorized:
					refused.Add(1)
				default:
					t.Errorf("%s: status %d", v.what, status)
					return
				}
				if sent.Add(1)%pace == 0 {
					select {
					case ticks <- struct{}{}:
					default: // the key before is still being ended
					}
				}
			}
		})
	}
	go func() { all.Wait(); close(ticks) }()

	var ended []*victim
	for range ticks {
		if !more() {
			continue
		}
		i := len(ended)
		v := slots[i%keys].Load()
		v.ending.Store(true)
		if err := v.end(); err != nil {
			t.Errorf("%s: %v", v.what, err)
			cancel()
			break
		}
		v.ended.Store(true)
		ended = append(ended, v)
		done.Store(int64(len(ended)))
		// The last half of the ended keys is still asked with.
		if j := i - keys/2; j >= 0 {
			slots[j%keys].Store(newVictim(t, api, keys+i, path))
		}
	}
	all.Wait()
	t.Logf("%d requests, %d keys ended, %d admitted, %d refused",
		sent.Load(), len(ended), admitted.Load(), refused.Load())
	a := newAttacker(t, gate)
	for _, v := range ended {
		if status, _, err := a.ask(v.request); err != nil || status != http.StatusUnauthorized {
			t.Errorf("%s, at the end: %d, %v", v.what, status, err)
		}
	}
	if late.Load() > 0 {
		t.Errorf("%d requests that began after the end of their key were admitted", late.Load())
	}
	if early.Load() > 0 {
		t.Errorf("%d requests with good keys were refused", early.Load())
	}
	if more() || admitted.Load() == 0 || refused.Load() == 0 {
		t.Error("too little was tried")
	}
}

// newVictim makes a key, or a token of one, that ends in one of the ways there are.
func newVictim(t *testing.T, api *client.Client, i int, path string) *victim {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	about := client.IssueRequest{Name: "a key", ActorID: "someone"}
	if i%5 == 0 {
		raw := fmt.Sprintf("an-imported-key-of-this-campaign-%06d", i)
		key, err := api.Import(ctx, client.ImportRequest{RawKey: raw, IssueRequest: about})
		fail(err)
		return &victim{what: "an imported key that is deleted", request: getting(path, raw), end: func() error {
			return api.DeleteImported(ctx, key.KeyID)
		}}
	}
	made, err := api.Issue(ctx, about)
	fail(err)
	id, secret := made.IssuedAPIKey.KeyID, made.Secret
	revoke := func() error {
		return api.Revoke(ctx, client.RevokeRequest{KeyID: id})
	}
	derive := func(algorithm client.TokenAlgorithm) string {
		t.Helper()
		made, err := api.Derive(ctx, client.DeriveRequest{Credential: secret, Algorithm: algorithm})
		fail(err)
		return made.Token
	}
	switch i % 5 {
	case 1:
		token := derive(client.TokenAlgorithmJWT)
		return &victim{what: "a JWT whose key is revoked", request: getting(path, token), end: revoke}
	case 2:
		token := derive(client.TokenAlgorithmMacaroon)
		return &victim{what: "a macaroon whose holder revokes the key", request: getting(path, token),
			end: func() error {
				return api.SelfRevoke(ctx, client.SelfRevokeRequest{Credential: secret})
			}}
	case 3:
		return &victim{what: "a key that is rotated", request: getting(path, secret), end: func() error {
			_, err := api.Rotate(ctx, client.RotateRequest{KeyID: id})
			return err
		}}
	default:
		return &victim{what: "a key that is revoked", request: getting(path, secret), end: revoke}
	}
}
