package confirm_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/confirm"
	"github.com/talos-edge/talos-edge/core/feed"
	"github.com/talos-edge/talos-edge/storage"
)

// An edge that cannot reach the node when that is started again may go on with what it knows. A change that is made
// then is not confirmed by it, and must not look so.
func TestAChangeAfterARestartIsNotConfirmedByAnEdgeThatIsNotBackYet(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]string{"another name": "node-2", "the same name": "node-1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := "sqlite://" + filepath.ToSlash(filepath.Join(t.TempDir(), "talos.db"))
			store, err := storage.Open(t.Context(), dsn, storage.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			a, b := feed.Edge{ID: "a", Instance: "1", Position: 5}, feed.Edge{ID: "b", Instance: "1", Position: 5}
			before := confirm.New(t.Context(), store, "node-1", "")
			acknowledge(t, before, a, b)
			before.Leave(&b)
			before.Close()

			c := confirm.New(t.Context(), store, next, "")
			t.Cleanup(c.Close)
			over, cancel := context.WithCancel(t.Context())
			cancel() // the result is that of now
			want := func(confirmed int, unconfirmed ...string) {
				t.Helper()
				got := c.Await(over, core.NetworkID{}, 6)
				if got.Confirmed != confirmed || !slices.Equal(got.Unconfirmed, unconfirmed) {
					t.Errorf("got %+v, want %d and %q", got, confirmed, unconfirmed)
				}
			}
			want(0, "a") // b has left
			a.Position = 6
			acknowledge(t, c, a)
			want(1)
			for inherited := false; !inherited; {
				nodes, _, err := store.Nodes(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				inherited = !slices.ContainsFunc(nodes, func(n core.NodeState) bool { return n.Seen.Unix() == 0 })
			}
			c.Leave(&a)
			want(0)
		})
	}
}

func acknowledge(t *testing.T, c *confirm.Confirmations, edges ...feed.Edge) {
	t.Helper()
	for _, e := range edges {
		if err := c.Acknowledge(e); err != nil {
			t.Fatal(err)
		}
	}
}
