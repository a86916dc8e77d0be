package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
)

// issuers is how many keys are issued at once; the store commits together what waits together.
const issuers = 32

// An issuedKey is what the admin API answers when it issues one.
type issuedKey struct {
	Key struct {
		ID string `json:"key_id"`
	} `json:"issued_api_key"`
	Secret string `json:"secret"`
}

// issue makes n keys through the running node's admin API.
func (p *proxy) issue(ctx context.Context, n int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	secrets := make([]string, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, issuers)
	for range min(issuers, n) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				key, err := p.issueOne(ctx, fmt.Sprintf("load %d", i))
				if err != nil {
					failed <- err
					cancel()
					return
				}
				secrets[i] = key.Secret
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return p.failure(err)
	default:
	}
	p.credentials = secrets
	return nil
}

func (p *proxy) issueOne(ctx context.Context, name string) (key issuedKey, err error) {
	body, err := json.Marshal(map[string]any{
		"name": name, "actor_id": "load", "scopes": []string{"orders:read", "orders:write"},
		"metadata": map[string]string{"plan": "gold"},
	})
	if err != nil {
		return key, err
	}
	answer, err := p.admin(ctx, "issuedApiKeys", body)
	if err != nil {
		return key, err
	}
	if err = json.Unmarshal(answer, &key); err == nil && (key.Secret == "" || key.Key.ID == "") {
		err = errors.New("issue: no secret or no key id in the answer")
	}
	return key, err
}

func (p *proxy) admin(ctx context.Context, call string, body []byte) ([]byte, error) {
	answer, _, err := p.post(ctx, call, body)
	return answer, err
}

// post makes a call of the admin API that is answered with 200, and returns the body and the header of the answer.
func (p *proxy) post(ctx context.Context, call string, body []byte) ([]byte, http.Header, error) {
	url := "http://" + p.api + "/v2alpha1/admin/" + call
	status, header, answer, err := request(ctx, loopback, http.MethodPost, url, "", bytes.NewReader(body))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s: status %d", call, status)
	}
	return answer, header, err
}

// sane makes sure that what is measured is a gate: a good key passes, a forged, an absent and a revoked one do not.
func (p *proxy) sane(ctx context.Context) error {
	expect := func(what, credential string, want int) error {
		status, _, err := get(ctx, loopback, "http://"+p.addr+"/orders/17", credential)
		if err == nil && status != want {
			err = fmt.Errorf("status %d, want %d", status, want)
		}
		if err != nil {
			return p.failure(fmt.Errorf("a request with %s: %w", what, err))
		}
		return nil
	}
	if len(p.credentials) > 0 {
		if err := expect("a good key", p.credentials[0], http.StatusOK); err != nil {
			return err
		}
	}
	if !p.gated && !p.auth {
		return nil
	}
	err := errors.Join(
		expect("a forged key", forged(), http.StatusUnauthorized), expect("no key", "", http.StatusUnauthorized))
	if err != nil || !p.gated {
		return err
	}
	key, err := p.issueOne(ctx, "to be revoked")
	if err != nil {
		return p.failure(err)
	}
	if err := expect("a new key", key.Secret, http.StatusOK); err != nil {
		return err
	}
	if _, err := p.admin(ctx, "issuedApiKeys/"+key.Key.ID+":revoke", []byte("{}")); err != nil {
		return p.failure(err)
	}
	return expect("a revoked key", key.Secret, http.StatusUnauthorized)
}

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// forged makes a string of a key's shape and length that no node has issued.
func forged() string {
	text := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = base58[rand.IntN(len(base58))] //nolint:gosec // load, not a secret
		}
		return b
	}
	return fmt.Sprintf("ory_ak_v1_%s_%s", text(64), text(44))
}
