package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/verify"
)

// heldSource makes look-ups wait until they are released.
type heldSource struct {
	*engine.Engine
	release chan struct{}
}

func (s heldSource) Lookup(ctx context.Context, queries []verify.Query) ([]verify.LookupResult, error) {
	<-s.release
	return s.Engine.Lookup(ctx, queries)
}

// Limits let one credential go at a time.
func (heldSource) Limits() verify.Limits { return verify.Limits{Calls: 1, Items: 1} }

// A client that has verified more than there is room for takes no place from another address: not with single
// verifications, and not with batches.
func TestAttack08_VerificationsLeaveRoomForOtherAddresses(t *testing.T) {
	t.Parallel()
	flooding, other := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	for path, body := range map[string]string{
		"/v2alpha1/admin/apiKeys:verify":      `{"credential":"%s"}`,
		"/v2alpha1/admin/apiKeys:batchVerify": `{"requests":[{"credential":"%s"}]}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t)
			source := heldSource{n.engine, make(chan struct{})}
			v, err := verify.New(verify.Config{MaxWaiting: 3}, source)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			n.verifier.Close()
			n.verifier = v
			ask := func(from netip.Addr, credential string) <-chan int {
				status := make(chan int, 1)
				n.from(from)
				go func() { status <- apitest.Post(n.admin, path, fmt.Sprintf(body, credential)).Code }()
				synctest.Wait()
				return status
			}
			var flood []<-chan int
			for i := range 4 { // one is out, and three wait
				flood = append(flood, ask(flooding, fmt.Sprint("flood-", i)))
			}
			if got := <-ask(flooding, "one-too-many"); got != http.StatusServiceUnavailable {
				t.Errorf("%s: beyond what may wait: %d", path, got)
			}
			answer := ask(other, "another")
			if got := <-flood[3]; got != http.StatusServiceUnavailable {
				t.Errorf("%s: the one that makes room: %d", path, got)
			}
			close(source.release)
			if got := <-answer; got != http.StatusOK {
				t.Errorf("%s: another address: %d", path, got)
			}
			for _, status := range flood[:3] {
				if got := <-status; got != http.StatusOK {
					t.Errorf("%s: one that waited: %d", path, got)
				}
			}
		})
	}
}
