package postgres

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// The calls of a history.
const (
	creates = iota
	revokes
	suspends
	resumes
	reads
	calls
)

// call is one call on a key, and its outcome.
type call struct {
	key  int
	kind int
	err  core.Reason // empty: none
	read state
}

// state is that of a key.
type state int

const (
	absent state = iota
	active
	suspended
	revoked
)

// next is the state of a key after a change, if its state allows that.
func (c *call) next(now state) (next state, allowed bool) {
	switch c.kind {
	case creates:
		return active, now == absent
	case revokes:
		return revoked, now == active || now == suspended
	case suspends:
		return suspended, now == active
	default:
		return active, now == suspended
	}
}

// step judges whether a call could have had its outcome in a state.
func (c *call) step(now state) (bool, state) {
	if c.kind == reads {
		return c.read == now, now
	}
	next, allowed := c.next(now)
	switch c.err {
	case "":
		return allowed, next
	case core.Unavailable, core.DeadlineExceeded: // made, or never made: then it is put at the end
		if allowed {
			return true, next
		}
		return true, now
	default:
		return !allowed, now
	}
}

// register is a key as a register of its state.
var register = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, historyKeys)
		for _, o := range all {
			key := o.Input.(*call).key //nolint:errcheck,forcetypeassert // nothing else is one
			parts[key] = append(parts[key], o)
		}
		return parts
	},
	Init: func() any { return absent },
	Step: func(now, input, _ any) (bool, any) {
		return input.(*call).step(now.(state)) //nolint:errcheck,forcetypeassert // nothing else is one
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
}

const (
	historyKeys = 40
	callsPerKey = 3 // of each client
)

// TestAttack05_HistoriesOfTwoStoresWhoseConnectionsAreCut makes changes and look-ups through two stores on one database
// and judges what they answered: there must be one order of all, in which each key is what the last change made it, and
// in which no call comes before one that had been answered when it was made.
func TestAttack05_HistoriesOfTwoStoresWhoseConnectionsAreCut(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	dsn := pgtest.Database(t)
	stores := []*Store{openAt(t, dsn, Options{}), openAt(t, dsn, Options{})}
	var (
		mu      sync.Mutex
		history []porcupine.Operation
		clients sync.WaitGroup
		start   = time.Now()
	)
	for client := range 16 {
		clients.Go(func() {
			for i := range historyKeys * callsPerKey { // all at the same key, more or less at once
				c := &call{key: i / callsPerKey, kind: rand.IntN(calls)}
				o := porcupine.Operation{ClientId: client, Call: int64(time.Since(start))}
				c.make(t, stores[client%2])
				o.Input, o.Return = c, int64(time.Since(start))
				if c.err == core.Unavailable || c.err == core.DeadlineExceeded {
					if c.kind == reads {
						continue // it says nothing
					}
					o.ClientId, o.Return = 1000+client, math.MaxInt64
				}
				mu.Lock()
				history = append(history, o)
				mu.Unlock()
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		clients.Wait()
		close(ended)
	}()
	for over := false; !over; {
		server.CutConnections(t, pgtest.Name(t, dsn))
		select {
		case <-ended:
			over = true
		case <-time.After(20 * time.Millisecond): // some calls pass
		}
	}
	result, info := porcupine.CheckOperationsVerbose(register, history, time.Minute)
	if result == porcupine.Illegal {
		t.Errorf("no order of the calls explains their answers: %v", info.PartialLinearizationsOperations())
	}
	if result == porcupine.Unknown {
		t.Log("the history is too long to be judged")
	}
	uncertain := 0
	for _, o := range history {
		if o.Return == math.MaxInt64 {
			uncertain++
		}
	}
	t.Logf("%d calls, of which %d with an unknown outcome", len(history), uncertain)
}

// make makes the call on a store.
func (c *call) make(t *testing.T, s *Store) {
	t.Helper()
	var (
		ctx = context.Background()
		id  = fmt.Sprintf("key-%d", c.key)
		k   core.Key
		err error
	)
	switch c.kind {
	case creates:
		_, _, err = s.Create(ctx, testKey(id))
	case revokes:
		err = revoke(ctx, s, id)
	case suspends:
		_, err = s.Suspend(ctx, core.NetworkID{}, core.Issued, id, core.Suspension{Time: testTime})
	case resumes:
		_, err = s.Resume(ctx, core.NetworkID{}, core.Issued, id, core.Resumption{Time: testTime})
	case reads:
		k, err = s.Get(ctx, core.NetworkID{}, id)
	}
	if err != nil {
		c.err = core.ReasonOf(err)
	}
	switch {
	case c.kind != reads || c.err == core.KeyNotFound:
	case k.Status == core.StatusActive:
		c.read = active
	case k.IsSuspended():
		c.read = suspended
	default:
		c.read = revoked
	}
	switch c.err {
	case "", core.Unavailable, core.DeadlineExceeded, core.KeyNotFound, core.Conflict, core.FailedPrecondition:
	default:
		t.Errorf("%+v: %v", c, err)
	}
}
