package sidecar

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Remote is the server that stores a sidecar's keys, as the sidecar's surfaces see it. Its methods may be called
// from several goroutines and put no credential into an error.
type Remote interface {
	// RoundTrip carries a request that a caller of the private surface made. It fills in the scheme, the host and what
	// the upstream's address has before the path, and adds nothing else: what the sidecar shows of its own when it
	// asks for itself (headers, a certificate) is not the caller's.
	http.RoundTripper

	// Prepare says which key a credential would belong to, as [verify.Source] does.
	Prepare(network core.NetworkID, credential string) (q verify.Query, final *core.Verdict)

	// VerifyFor asks about one credential for the caller at an address. The answer is not remembered.
	VerifyFor(ctx context.Context, network core.NetworkID, credential string, client netip.Addr) (*core.Verdict, error)

	// SelfRevoke asks the upstream to revoke the key of a network behind a credential. The call is made of these values
	// and of nothing that the sidecar or its caller has beside them. The position is what the upstream says of the
	// change's position in its feed, see Forget.
	SelfRevoke(
		ctx context.Context, network core.NetworkID, credential string, reason client.RevocationReason,
	) (position uint64, err error)

	// JWKS reads the public keys that a network's derived tokens are signed with.
	JWKS(ctx context.Context, network core.NetworkID) (*client.JWKS, error)

	// HostOf is the host under which the upstream serves a network. Empty: there is one network, and a request passes
	// with its caller's host.
	HostOf(network core.NetworkID) string

	// Forget makes everything that was looked up about a key before the call too old to be used. So are later
	// answers from before a position in the upstream's feed, where that has named one; 0: it has not.
	Forget(network core.NetworkID, keyID string, position uint64)

	// AwaitPosition waits until all changes of a network up to a position of the upstream's feed are applied here, or
	// ctx ends.
	AwaitPosition(ctx context.Context, network core.NetworkID, position uint64) error

	// ForgetAll is Forget of every key.
	ForgetAll(position uint64)
}

// Options say what a surface of a sidecar serves: a node that has no keys, and an upstream that does.
type Options struct {
	// Options are those of any surface. Of a network the id and the verifier are used; Ready is about the upstream.
	adminapi.Options

	// Upstream is required.
	Upstream Remote

	// EdgeID is the name of this sidecar as an edge. What passes here carries it, for the upstream.
	EdgeID string
}

// Admin serves the private surface of a sidecar. What is local of the API's operations is answered here, verifications
// from the sidecar's verifier; everything else under the private paths, and the key set, passes to the upstream with
// what the caller sent and nothing of the sidecar's own. When something that passes may have changed a key, the sidecar
// has forgotten that key before the caller gets the response, whatever it is.
//
// A verification that an edge asks for passes, too: only the upstream knows the positions that belong to the answer.
func Admin(o Options) http.Handler {
	s, local := newSidecar(o)
	h := &admin{sidecar: s, local: adminapi.Admin(local), options: o.WithDefaults()}
	h.proxy = h.newProxy()
	return h
}

// NewPublic makes the public surface of a sidecar. A self-revocation is made anew from its credential and reason and
// sent to the upstream; the key is forgotten before the caller gets the response.
func NewPublic(o adminapi.PublicOptions, upstream Remote) *adminapi.Public {
	_, o.Options = newSidecar(Options{Options: o.Options, Upstream: upstream})
	return adminapi.NewPublic(o)
}

// newSidecar makes a sidecar, and the options of the surface that answers what is local.
func newSidecar(o Options) (*sidecar, adminapi.Options) {
	s := &sidecar{
		upstream: o.Upstream,
		edgeID:   o.EdgeID,
		mark:     rand.Text(),
		ready: cached[struct{}]{ttl: readyTTL, fetch: func(ctx context.Context) (struct{}, error) {
			return struct{}{}, o.Ready(ctx)
		}},
	}
	local := o.Options
	local.Network = func(r *http.Request) (adminapi.Network, error) {
		n, err := o.Network(r)
		if err == nil {
			n.Keys, n.Holders = nil, &holders{s, n.ID, n.Verifier}
			n.Verifier = verifier{n.Verifier, s.upstream}
			n.AwaitPosition = func(ctx context.Context, position uint64) error {
				return s.upstream.AwaitPosition(ctx, n.ID, position)
			}
		}
		return n, err
	}
	if o.Ready != nil {
		local.Ready = func(ctx context.Context) error {
			_, err := s.ready.get(ctx)
			return err
		}
	}
	return s, local
}

// How long an answer to everybody serves for everybody. So who asks on a public surface reaches the upstream at this
// rate and no other.
const (
	keySetTTL = 5 * time.Second
	readyTTL  = time.Second
)

// How long a call of the upstream may take that a caller waits for.
const (
	passTimeout   = 30 * time.Second // of anything that passes
	holderTimeout = 10 * time.Second // of a self-revocation, and of an answer to everybody
)

// sidecar is what the surfaces of a sidecar have beyond those of a node.
type sidecar struct {
	upstream Remote
	edgeID   string
	mark     string // of the requests that have passed this sidecar
	ready    cached[struct{}]

	keySets sync.Map // of *cached[*client.JWKS], by network
}

// keySet is the cached key set of a network.
func (s *sidecar) keySet(network core.NetworkID) *cached[*client.JWKS] {
	if set, ok := s.keySets.Load(network); ok {
		return set.(*cached[*client.JWKS]) //nolint:errcheck,forcetypeassert // the map holds nothing else
	}
	set, _ := s.keySets.LoadOrStore(network, &cached[*client.JWKS]{
		ttl: keySetTTL, fetch: func(ctx context.Context) (*client.JWKS, error) { return s.upstream.JWKS(ctx, network) },
	})
	return set.(*cached[*client.JWKS]) //nolint:errcheck,forcetypeassert // see above
}

// unavailable makes the trouble of an upstream an error that puts no blame on the caller.
func unavailable(err error) error {
	reason := core.ReasonOf(err)
	if reason == core.Unavailable || reason == core.DeadlineExceeded {
		return err
	}
	return core.WrapError(core.Unavailable, "the upstream does not answer", err)
}
