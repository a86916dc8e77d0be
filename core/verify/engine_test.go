package verify

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
)

// slowStore has no keys. Each read takes a while, however many keys it is for.
type slowStore struct {
	core.Store
	positions feed.Positions
	reads     atomic.Int64
}

func (s *slowStore) Positions() *feed.Positions { return &s.positions }

func (s *slowStore) Get(context.Context, core.NetworkID, string) (core.Key, error) {
	s.read()
	return core.Key{}, core.NewError(core.KeyNotFound, "no such key")
}

func (s *slowStore) GetMany(context.Context, core.NetworkID, []string) (map[string]core.Key, error) {
	s.read()
	return nil, nil
}

func (s *slowStore) read() {
	s.reads.Add(1)
	time.Sleep(roundTrip)
}

// An imported key has no checksum, so that any text could be one and only the store can tell.
func TestAttack08_MadeUpImportedKeysAreReadInBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keyring, err := credential.NewKeyring(strings.Repeat("s", 32))
		if err != nil {
			t.Fatal(err)
		}
		store := new(slowStore)
		keys, err := engine.New(engine.Config{Keyring: keyring}, store)
		if err != nil {
			t.Fatal(err)
		}
		v := newVerifier(t, setup{Config{}, Limits{Calls: 4}}, keys)
		var answers []<-chan asked
		ask := func(credential, client string) {
			answer := make(chan asked, 1)
			answers = append(answers, answer)
			go func() {
				ctx, start := WithClient(t.Context(), netip.MustParseAddr(client)), time.Now()
				r, err := v.Verify(ctx, core.NetworkID{}, credential, Use)
				answer <- asked{r, err, time.Since(start)}
			}()
		}
		for i := range 2000 {
			ask(fmt.Sprint("made-up-", i), someone)
		}
		synctest.Wait()
		ask("another", another)
		last := <-answers[len(answers)-1]
		if last.err != nil || last.result.Verdict.Code != core.CodeNotFound || last.took > 2*roundTrip {
			t.Errorf("another address got %+v after %s", last.result, last.took)
		}
		for i, answer := range answers[:2000] {
			if a := <-answer; a.err != nil || a.result.Verdict.Code != core.CodeNotFound {
				t.Fatalf("%d: got %+v, %v", i, a.result.Verdict, a.err)
			}
		}
		if n := store.reads.Load(); n > 4+2000/100+1 {
			t.Errorf("%d reads", n)
		}
	})
}
