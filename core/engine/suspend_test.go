package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

func suspend(t *testing.T, e *engine.Engine, keyID string) core.Key {
	t.Helper()
	key, err := e.Suspend(t.Context(), core.AnyKind, keyID)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func resume(t *testing.T, e *engine.Engine, keyID string) core.Key {
	t.Helper()
	key, err := e.Resume(t.Context(), core.AnyKind, keyID)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSuspend_AKeyReadsRevokedUntilItIsResumed(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key, secret := issue(t, e, func(r *engine.IssueRequest) { r.Scopes = []string{"a"} })
	imported := importKey(t, e, "legacy")
	for cred, keyID := range map[string]string{secret: key.ID, "legacy": imported.ID} {
		before := lookup(t, e, cred)
		if got := suspend(t, e, keyID); !got.IsSuspended() || time.Since(got.SuspendTime) > time.Minute {
			t.Errorf("the suspended key is %+v", got)
		}
		if v := lookup(t, e, cred); v.Code != core.CodeRevoked || v.Status != core.StatusRevoked {
			t.Errorf("suspended, it reads %+v", v)
		}
		if got := resume(t, e, keyID); got.IsSuspended() || got.Status != core.StatusActive {
			t.Errorf("the resumed key is %+v", got)
		}
		v := lookup(t, e, cred)
		if v.Code != core.CodeValid || len(v.Scopes) != len(before.Scopes) || v.ActorID != before.ActorID {
			t.Errorf("resumed, it reads %+v", v)
		}
	}
}

func TestSuspend_DerivedTokensAreRefusedAndWorkAgain(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), withSigning)
	key, secret := issue(t, e, nil)
	var tokens []string
	for _, algorithm := range []engine.TokenAlgorithm{engine.AlgorithmJWT, engine.AlgorithmMacaroon} {
		d, err := e.Derive(t.Context(), engine.DeriveRequest{Credential: secret, Algorithm: algorithm})
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, d.Token)
	}
	wantAll := func(want core.Code) {
		t.Helper()
		for i, token := range tokens {
			if v := lookup(t, e, token); v.Code != want {
				t.Errorf("token %d reads %d, want %d", i, v.Code, want)
			}
		}
	}
	wantAll(core.CodeValid)
	suspend(t, e, key.ID)
	wantAll(core.CodeRevoked)
	_, err := e.Derive(t.Context(), engine.DeriveRequest{Credential: secret})
	wantReason(t, err, core.KeyRevoked)
	resume(t, e, key.ID)
	wantAll(core.CodeValid)
}

func TestSelfRevoke_OfASuspendedKeyIsFinal(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), nil)
	key, secret := issue(t, e, nil)
	suspend(t, e, key.ID)
	if _, err := e.SelfRevoke(t.Context(), secret, core.ReasonKeyCompromise); err != nil {
		t.Fatalf("the holder is refused: %v", err)
	}
	got, err := e.Get(t.Context(), core.Issued, key.ID)
	if err != nil || got.IsSuspended() || got.RevocationReason != core.ReasonKeyCompromise {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = e.Resume(t.Context(), core.Issued, key.ID)
	wantReason(t, err, core.FailedPrecondition)
}

func TestResume_AKeyThatExpiredMeanwhileReadsExpired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, openStore(t), nil)
		ttl := time.Hour
		key, secret := issue(t, e, func(r *engine.IssueRequest) { r.TTL = &ttl })
		suspend(t, e, key.ID)
		time.Sleep(ttl)
		if got := resume(t, e, key.ID); !got.ExpireTime.Equal(key.ExpireTime) {
			t.Errorf("it expires at %s, want %s", got.ExpireTime, key.ExpireTime)
		}
		if v := lookup(t, e, secret); v.Code != core.CodeExpired {
			t.Errorf("it reads %+v", v)
		}
	})
}

func TestResume_IsRefusedWhereTheQuotaHasNoRoom(t *testing.T) {
	t.Parallel()
	e := newEngine(t, openStore(t), func(c *engine.Config) { c.KeyQuota = 1 })
	key, secret := issue(t, e, nil)
	suspend(t, e, key.ID)
	second, _ := issue(t, e, nil)
	_, err := e.Resume(t.Context(), core.Issued, key.ID)
	wantReason(t, err, core.KeyQuotaExceeded)
	if v := lookup(t, e, secret); v.Code != core.CodeRevoked {
		t.Errorf("refused, it reads %+v", v)
	}
	suspend(t, e, second.ID)
	resume(t, e, key.ID)
}
