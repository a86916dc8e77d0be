package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/verify"
)

// historyKey is a key that callers change and read.
type historyKey struct {
	raw string // of an imported key; empty: it is issued

	mu         sync.Mutex
	name       string // in the history; empty: there is none yet
	credential string
	id         string
	ended      bool // it is issued and revoked: the next one takes its place
}

// isDue reports whether a key is to be issued.
func (k *historyKey) isDue() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.raw == "" && (k.name == "" || k.ended)
}

// begin notes the key that was issued.
func (k *historyKey) begin(name string, issued *client.IssueResponse) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.name, k.credential, k.id, k.ended = name, issued.Secret, issued.IssuedAPIKey.KeyID, false
}

// end lets another key be issued.
func (k *historyKey) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
}

// current is the key as it is now.
func (k *historyKey) current() (name, cred, id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.raw != "" {
		return k.raw, k.raw, credential.ImportedKeyID(core.NetworkID{}, k.raw)
	}
	return k.name, k.credential, k.id
}

// awaitChange waits until an edge says that it has applied the newest change, for a moment at most.
func (r *run) awaitChange(e *historyEdge) *operation {
	newest, position := r.newest()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if newest == nil || e.remote.AwaitPosition(ctx, core.NetworkID{}, position) != nil {
		return nil
	}
	return newest
}

// readAt reads keys at an edge until the end.
func (r *run) readAt(edge int, random *rand.Rand) {
	for r.over.Err() == nil {
		pause(r.over, time.Duration(random.IntN(150))*time.Millisecond)
		name, cred, _ := r.keys[random.IntN(len(r.keys))].current()
		if name == "" {
			continue
		}
		e := r.edges[edge].Load()
		o := &operation{key: name, action: reads, edge: e.name}
		if random.IntN(10) == 0 {
			o.after = r.awaitChange(e)
		}
		mode := verify.Use
		if random.IntN(20) == 0 {
			mode = verify.NoCache
		}
		o.call = r.now()
		result, err := e.verifier.Verify(context.Background(), core.NetworkID{}, cred, mode)
		o.returned = r.now()
		if err != nil {
			r.failed(err)
			continue
		}
		o.state, o.bound = stateOf(result.Verdict), ageBounds[result.Cache]+r.behind+r.lag
		r.seen.answers[result.Cache].Add(1)
		r.add(o)
	}
}

// failed takes an error, which must leave open whether the credential is valid.
func (r *run) failed(err error) {
	if reason := core.ReasonOf(err); reason != core.Unavailable && reason != core.DeadlineExceeded {
		r.t.Errorf("an edge answers with %v", err)
	}
}

func stateOf(v *core.Verdict) string {
	switch v.Code {
	case core.CodeValid:
		return fmt.Sprint(v.Scopes)
	case core.CodeRevoked:
		return revoked
	case core.CodeNotFound:
		return absent
	default:
		return fmt.Sprintf("(code %d)", v.Code)
	}
}

// readAtNode reads keys at a node until the end.
func (r *run) readAtNode(node *restartable, random *rand.Rand) {
	for r.over.Err() == nil {
		pause(r.over, time.Duration(random.IntN(150))*time.Millisecond)
		name, cred, _ := r.keys[random.IntN(len(r.keys))].current()
		if name == "" {
			continue
		}
		o := &operation{key: name, action: reads, call: r.now()}
		if len(r.nodes) > 1 {
			o.edge, o.bound = node.name, r.lag
		}
		sent := &exchange{node: node}
		got, err := sent.client(r.t).Verify(context.Background(), cred)
		o.returned = r.now()
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF), sent.status >= http.StatusInternalServerError:
			continue
		case err != nil:
			r.t.Errorf("the node answers with %v", err)
		case got.IsValid:
			o.state = fmt.Sprint(got.Scopes)
		case got.ErrorCode == client.VerificationErrorRevoked:
			o.state = revoked
		case got.ErrorCode == client.VerificationErrorNotFound:
			o.state = absent
		}
		r.add(o)
	}
}
