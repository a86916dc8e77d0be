package upstream

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
	"github.com/talos-edge/talos-edge/storage"
)

// follows is an edge that follows the feed of a node of ours through a link. Its verdicts do not expire during a test.
type follows struct {
	t        *testing.T
	node     *restartable
	api      *client.Client
	link     *link
	remote   *Remote
	verifier *verify.Verifier
}

func newFollower(t *testing.T) *follows {
	t.Helper()
	f := &follows{t: t, node: newRestartable(t, "node", inFile(t))}
	f.api = (&exchange{node: f.node}).client(t)
	f.link = &link{to: f.node.serve, ending: t.Context()}
	f.remote = remoteAt(t, Config{EdgeID: "edge", Timeout: time.Second}, inPipes(t, f.link))
	t.Cleanup(f.remote.Close)
	f.verifier = verifying(t, f.remote, verify.Config{TTL: time.Hour, NegativeTTL: time.Hour})
	f.remote.Follow(t.Context())
	return f
}

// issue makes a key.
func (f *follows) issue() *client.IssueResponse {
	f.t.Helper()
	k, err := f.api.Issue(f.t.Context(), client.IssueRequest{Name: "n", ActorID: "a"})
	if err != nil {
		f.t.Fatal(err)
	}
	return k
}

func (f *follows) revoke(k *client.IssueResponse) {
	f.t.Helper()
	if err := f.api.Revoke(f.t.Context(), client.RevokeRequest{KeyID: k.IssuedAPIKey.KeyID}); err != nil {
		f.t.Fatal(err)
	}
}

// catchUp waits until the edge has applied all changes.
func (f *follows) catchUp() {
	f.t.Helper()
	var position uint64
	f.node.running(func(p *process) { position = p.store.Positions().Applied() })
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if err := f.remote.AwaitPosition(ctx, core.NetworkID{}, position); err != nil {
		f.t.Fatal(err)
	}
}

// want checks what the edge says of a key, from its cache or not.
func (f *follows) want(what string, k *client.IssueResponse, code core.Code, cached bool) {
	f.t.Helper()
	synctest.Wait() // what was looked up before is in the cache then
	r, err := f.verifier.Verify(f.t.Context(), core.NetworkID{}, k.Secret, verify.Use)
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	if r.Verdict.Code != code || r.Cache.FromCache() != cached {
		f.t.Errorf("%s: got code %d, %s", what, r.Verdict.Code, r.Cache)
	}
}

func TestAnEdgeThatMissesEventsWhichAreRemovedForgetsWhatItKnows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t)
		k, other := f.issue(), f.issue()
		f.catchUp()
		f.want("a new key", k, core.CodeValid, false)
		f.want("another", other, core.CodeValid, false)
		f.link.cut(feedTraffic, true)
		f.revoke(k)
		f.issue()
		f.node.prune() // the revocation is in the feed no more
		f.want("an edge that is cut off", k, core.CodeValid, true)
		f.link.heal(feedTraffic)
		f.catchUp()
		f.want("the edge, afterwards", k, core.CodeRevoked, false)
		f.want("a key that has not changed", other, core.CodeValid, false)
	})
}

func TestAnEdgeOfANodeThatIsRestoredFromABackupForgetsWhatItKnows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t)
		k := f.issue()
		restored := filepath.Join(t.TempDir(), "restored.db")
		if _, err := storage.Backup(t.Context(), f.node.dsn, restored); err != nil {
			t.Fatal(err)
		}
		f.revoke(k)
		late := f.issue()
		f.catchUp()
		f.want("a key that is revoked after the backup", k, core.CodeRevoked, false)
		f.want("a key that is issued after it", late, core.CodeValid, false)
		f.want("the same once more", late, core.CodeValid, true)
		f.node.stop()
		f.node.dsn = "sqlite://" + filepath.ToSlash(restored)
		f.node.start()
		f.catchUp()
		f.want("the first, in the copy", k, core.CodeValid, false)
		f.want("the second, in the copy", late, core.CodeNotFound, false)
	})
}
