package upstream

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

func TestAttack08_WhatSpoilsACallTakesNoAnswersAwayThatAreThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStandIn()
		s.edge = true
		s.fault = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			select {
			case <-time.After(50 * time.Millisecond): // so that there is no time to ask about each of the others alone
			case <-r.Context().Done():
			}
			return strings.Contains(string(body), "odd-") && saying(400, jsonType, envelope)(w, r, body)
		}
		u, _ := inMemory(t, s, func(c *Config) { c.Timeout = 2 * time.Second })
		v := verifying(t, u, verify.Config{})
		creds := make([]string, 100)
		creds[0], _ = s.add(t, nil) // a key that was good before is the first of a call
		for i := range creds[1:] {
			creds[i+1] = fmt.Sprint("odd-", i)
		}
		results := v.VerifyMany(t.Context(), core.NetworkID{}, creds, verify.Use)
		if r := results[0]; r.Err != nil || r.Verdict.Code != core.CodeValid {
			t.Errorf("the good key got %+v, %v", r.Verdict, r.Err)
		}
		for i, r := range results[1:] {
			if core.ReasonOf(r.Err) != core.Unavailable {
				t.Errorf("odd credential %d got %+v, %v", i, r.Verdict, r.Err)
			}
		}
	})
}
