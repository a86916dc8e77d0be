package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

// A token that names no position, from a build that did not write it, is not good for a key that was imported again for
// somebody else, although the clock that issued it was ahead.
func TestAttack18_ATokenWithoutAPositionIsNoneOfAnotherActorsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, openStore(t), withSigning)
		importAs := func(actor string) core.Key {
			t.Helper()
			key, err := e.Import(t.Context(), engine.ImportRequest{
				RawKey: "raw", IssueRequest: engine.IssueRequest{Name: "n", ActorID: actor},
			})
			if err != nil {
				t.Fatal(err)
			}
			return key
		}
		key := importAs("alice")
		c := claimsOf(&key)
		c.TokenID, c.IssueTime = uuid.NewString(), key.CreateTime.Add(time.Minute)
		token := signJWT(t, c)
		if v := lookup(t, e, token); v.Code != core.CodeValid {
			t.Fatalf("before the deletion: %d", v.Code)
		}
		if err := e.Delete(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		importAs("bob")
		if v := lookup(t, e, token); v.Code != core.CodeNotFound {
			t.Errorf("got %d for %q", v.Code, v.ActorID)
		}
	})
}
