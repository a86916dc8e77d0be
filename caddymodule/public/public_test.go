package public

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/node"
)

// TestAttack13_WhatThePublicSurfaceAnswersGoesNoFurther has an app behind it that would act on any request it got.
func TestAttack13_WhatThePublicSurfaceAnswersGoesNoFurther(t *testing.T) {
	t.Parallel()
	surface := node.NewSurface(new(node.App), func(node.Node) *adminapi.Public {
		return adminapi.NewPublic(adminapi.PublicOptions{Options: adminapi.Options{
			Network: func(*http.Request) (adminapi.Network, error) { return adminapi.Network{}, errors.New("no node") },
		}})
	})
	p := &Public{surface: surface}
	for target, want := range map[string]int{"/v2alpha1/admin/x": 0, "/v2alpha1/derivedKeys/jwks.json": 0, "/x": 1} {
		reached := 0
		next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { reached++; return nil })
		err := p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, target, nil), next)
		if err != nil || reached != want {
			t.Errorf("%s: the next handler was called %d times, want %d (%v)", target, reached, want, err)
		}
	}
}

func TestARequestForTheNextHandlerOpensNoNode(t *testing.T) {
	t.Parallel()
	surface := node.NewSurface(new(node.App), func(node.Node) *adminapi.Public {
		t.Error("a node was taken hold of")
		return adminapi.NewPublic(adminapi.PublicOptions{})
	})
	p := &Public{surface: surface}
	reached := false
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { reached = true; return nil })
	err := p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/orders", nil), next)
	if err != nil {
		t.Error(err)
	}
	if !reached {
		t.Error("the next handler was not called")
	}
}
