package engine_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

func TestUpdate_ChangesWhatTheMaskNamesAndClearsWhatIsEmptyInIt(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key, secret := issue(t, e, func(r *engine.IssueRequest) {
		r.Scopes, r.Metadata = []string{"a"}, json.RawMessage(`{"a":1}`)
		r.RateLimit = core.RateLimitPolicy{Quota: 1, Window: time.Second}
	})
	got, err := e.Update(t.Context(), core.Issued, key.ID, engine.UpdateRequest{
		Mask:     []string{engine.PathScopes, engine.PathMetadata, engine.PathRateLimit, engine.PathScopes},
		Name:     "not in the mask",
		Metadata: json.RawMessage(` null `), RateLimit: core.RateLimitPolicy{Unit: "x", Window: 7},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != key.Name || got.Scopes != nil || got.Metadata != nil || got.RateLimit != (core.RateLimitPolicy{}) ||
		!got.UpdateTime.After(key.UpdateTime) || !got.CreateTime.Equal(key.CreateTime) {
		t.Errorf("the key is %+v", got)
	}
	if v := lookup(t, e, secret); len(v.Scopes) != 0 || v.Metadata != nil {
		t.Errorf("verdict %+v", v)
	}
}

func TestAttack20_NoMaskReachesStatusOrIDs(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, nil)
	key, _ := issue(t, e, nil)
	for _, path := range []string{
		"", "*", "status", "key_id", "actor_id", "visibility", "expire_time", "ttl", "request_id", "kind", "network",
		"Name", " name", "name,scopes", "issued_api_key.name", "metadata.a", "rate_limit_policy.quota",
	} {
		r := engine.UpdateRequest{Mask: []string{engine.PathScopes, path}}
		_, err := e.Update(t.Context(), core.Issued, key.ID, r)
		if core.ReasonOf(err) != core.BadRequest {
			t.Errorf("path %q: %v", path, err)
		}
	}
	if n := store.Positions().Applied(); n != 1 {
		t.Errorf("%d changes were written", n-1)
	}
}

// badFields are fields that are not well formed, each under its path.
func badFields() map[string]engine.UpdateRequest {
	long := strings.Repeat("x", 5000)
	limit := func(quota int64, window time.Duration, unit string) engine.UpdateRequest {
		return engine.UpdateRequest{
			Mask:      []string{engine.PathRateLimit},
			RateLimit: core.RateLimitPolicy{Quota: quota, Window: window, Unit: unit},
		}
	}
	return map[string]engine.UpdateRequest{
		"no name":              {Mask: []string{engine.PathName}},
		"a long name":          {Mask: []string{engine.PathName}, Name: long},
		"a scope with a space": {Mask: []string{engine.PathScopes}, Scopes: []string{"a b"}},
		"a long scope":         {Mask: []string{engine.PathScopes}, Scopes: []string{long}},
		"metadata in a list":   {Mask: []string{engine.PathMetadata}, Metadata: json.RawMessage(`[]`)},
		"long metadata": {
			Mask: []string{engine.PathMetadata}, Metadata: json.RawMessage(`{"a":"` + long + `"}`),
		},
		"a range of nothing":  {Mask: []string{engine.PathCIDRs}, AllowedCIDRs: make([]netip.Prefix, 1)},
		"129 ranges":          {Mask: []string{engine.PathCIDRs}, AllowedCIDRs: make([]netip.Prefix, 129)},
		"a negative quota":    limit(-1, time.Second, ""),
		"no window":           limit(1, 0, ""),
		"a negative window":   limit(1, -time.Second, ""),
		"half a second":       limit(1, 500*time.Millisecond, ""),
		"a window of 1.5 s":   limit(1, 1500*time.Millisecond, ""),
		"a window of 2 years": limit(1, 2*8760*time.Hour, ""),
		"a long unit":         limit(1, time.Second, long),
		"a unit with a line":  limit(1, time.Second, "a\nb"),
	}
}

func TestUpdateAndRotate_RefuseWhatANewKeyWouldBeRefused(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	e := newEngine(t, store, nil)
	key, _ := issue(t, e, nil)
	for name, r := range badFields() {
		_, err := e.Update(t.Context(), core.Issued, key.ID, r)
		if core.ReasonOf(err) != core.BadRequest || err == nil {
			t.Errorf("update with %s: %v", name, err)
		}
		var p core.Patch
		switch r.Mask[0] {
		case engine.PathName:
			p.Name = &r.Name
		case engine.PathScopes:
			p.Scopes = &r.Scopes
		case engine.PathMetadata:
			p.Metadata = &r.Metadata
		case engine.PathCIDRs:
			p.AllowedCIDRs = &r.AllowedCIDRs
		case engine.PathRateLimit:
			p.RateLimit = &r.RateLimit
		}
		_, _, secret, err := e.Rotate(t.Context(), key.ID, engine.RotateRequest{Patch: p})
		if core.ReasonOf(err) != core.BadRequest || err == nil || secret != "" {
			t.Errorf("rotate with %s: %v", name, err)
		}
	}
	if n := store.Positions().Applied(); n != 1 {
		t.Errorf("%d changes were written", n-1)
	}
}

func TestRotate_TheNewSecretVerifiesAndTheOldOneReadsRevoked(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	ttl := time.Hour
	key, secret := issue(t, e, func(r *engine.IssueRequest) {
		r.Visibility, r.TTL, r.Scopes = core.VisibilityPublic, &ttl, []string{"a"}
	})
	fresh, old, next, err := e.Rotate(t.Context(), key.ID, engine.RotateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if fresh.ID == key.ID || old.ID != key.ID || old.RevocationReason != core.ReasonSuperseded ||
		!fresh.ExpireTime.Equal(key.ExpireTime) {
		t.Errorf("%+v in place of %+v", fresh, old)
	}
	if v := lookup(t, e, secret); v.Code != core.CodeRevoked {
		t.Errorf("the old secret reads %+v", v)
	}
	v := lookup(t, e, next)
	if v.Code != core.CodeValid || v.KeyID != fresh.ID || v.Visibility != core.VisibilityPublic || len(v.Scopes) != 1 {
		t.Errorf("the new secret reads %+v", v)
	}
	if !strings.HasPrefix(next, "ory_pk_v1_") {
		t.Error("the new secret of a public key has not its prefix")
	}
	_, _, _, err = e.Rotate(t.Context(), key.ID, engine.RotateRequest{})
	wantReason(t, err, core.FailedPrecondition)

	// Public to secret: the prefix goes with it.
	fresh, _, next, err = e.Rotate(t.Context(), fresh.ID, engine.RotateRequest{Visibility: core.VisibilitySecret})
	if err != nil || fresh.Visibility != core.VisibilitySecret || !strings.HasPrefix(next, "ory_ak_v1_") {
		t.Errorf("%+v, %v", fresh, err)
	}
}

func TestRotate_RefusesWhatIsNoIssuedKeyOrHasNoPrefix(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), func(c *engine.Config) { c.Prefixes.Public = "" })
	key, secret := issue(t, e, nil)
	imported := importKey(t, e, "legacy")
	for _, id := range []string{imported.ID, uuid.NewString(), ""} {
		for _, v := range []core.Visibility{core.VisibilityUnknown, core.VisibilitySecret} {
			_, _, _, err := e.Rotate(t.Context(), id, engine.RotateRequest{Visibility: v})
			wantReason(t, err, core.KeyNotFound)
		}
	}
	for _, v := range []core.Visibility{core.VisibilityPublic, 9} {
		_, _, _, err := e.Rotate(t.Context(), key.ID, engine.RotateRequest{Visibility: v})
		wantReason(t, err, core.BadRequest)
	}
	if v := lookup(t, e, secret); v.Code != core.CodeValid {
		t.Errorf("verdict %+v", v)
	}
}

func TestDelete_AKeyIsGoneAndCanBeImportedAgain(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key := importKey(t, e, "legacy")
	if _, err := e.Revoke(t.Context(), core.AnyKind, key.ID, engine.RevokeRequest{}); err != nil {
		t.Fatal(err)
	}
	if v := lookup(t, e, "legacy"); v.Code != core.CodeRevoked {
		t.Errorf("verdict %+v", v)
	}
	if err := e.Delete(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	if v := lookup(t, e, "legacy"); v.Code != core.CodeNotFound {
		t.Errorf("verdict %+v", v)
	}
	wantReason(t, e.Delete(t.Context(), key.ID), core.KeyNotFound)
	importKey(t, e, "legacy")
	if v := lookup(t, e, "legacy"); v.Code != core.CodeValid {
		t.Errorf("verdict %+v", v)
	}
	issued, _ := issue(t, e, nil)
	wantReason(t, e.Delete(t.Context(), issued.ID), core.KeyNotFound)
}
