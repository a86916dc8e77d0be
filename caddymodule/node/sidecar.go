package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/outage"
	"github.com/talos-edge/talos-edge/adminapi/sidecar"
	"github.com/talos-edge/talos-edge/adminapi/upstream"
	"github.com/talos-edge/talos-edge/caddymodule/internal/build"
	"github.com/talos-edge/talos-edge/caddymodule/internal/clientaddr"
	"github.com/talos-edge/talos-edge/caddymodule/internal/logging"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/ratelimit"
	"github.com/talos-edge/talos-edge/core/usage"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Sidecar is a node without keys, in front of an upstream that has them.
type Sidecar struct {
	base
	upstream *upstream.Remote
	edgeID   string
}

// sidecarSettings are what only a sidecar has.
type sidecarSettings struct {
	upstream *Upstream
	edgeID   string
}

// resolveSidecar is resolve for a node without keys.
func (a *App) resolveSidecar() (s settings, err error) {
	c := &sidecarSettings{upstream: a.Upstream, edgeID: cmp.Or(a.EdgeID, defaultEdgeID())}
	s = settings{kind: c}
	if err := a.checkSidecar(); err != nil {
		return s, err
	}
	if len(a.Upstream.Addresses) == 0 {
		return s, errors.New("upstream: an address is required")
	}
	if err := a.Upstream.check(); err != nil {
		return s, fmt.Errorf("upstream: %w", err)
	}
	if err := a.resolveCommon(&s); err != nil {
		return s, err
	}
	if a.EdgeID != "" && !client.ValidEdgeID(a.EdgeID) {
		return s, fmt.Errorf("edge_id: must have 1 to %d printable characters and no comma", client.MaxEdgeID)
	}
	s.networks, err = a.resolveNetworks(func(n *networkSettings, o *KeyOptions) error {
		n.prefixes = o.prefixes()
		_, err := credential.NewFormat(n.id, nil, n.prefixes)
		return err
	})
	if err != nil {
		return s, err
	}
	u, err := upstream.New(c.config(&s)) // connects to nothing
	if err != nil {
		return s, err
	}
	u.Close()
	return s, nil
}

// config is the configuration of the upstream's source, without the certificates.
func (c *sidecarSettings) config(s *settings) upstream.Config {
	config := c.upstream.config()
	config.Network, config.Prefixes = s.networks[0].id, s.networks[0].prefixes
	if !s.several() {
		return config
	}
	config.Host, config.OwnHosts = s.networks[0].hosts[0], true
	for _, n := range s.networks[1:] {
		config.Networks = append(config.Networks, upstream.Network{
			ID: n.id, Prefixes: n.prefixes, Header: config.Header, Host: n.hosts[0],
		})
	}
	return config
}

// defaultEdgeID is a name that no other process has.
var defaultEdgeID = sync.OnceValue(func() string {
	const longest = client.MaxEdgeID - 9
	host, _ := os.Hostname()
	host = host[:min(len(host), longest)]
	if !client.ValidEdgeID(host) {
		host = "edge"
	}
	return host + "-" + strings.ToLower(rand.Text()[:8])
})

// checkSidecar refuses options that only a node with keys of its own can have.
func (a *App) checkSidecar() error {
	if a.Upstream == nil {
		return nil
	}
	options := append(a.ofEmbedded(), []givenOption{
		{"storage", a.Storage != ""},
		{"clock_skew", a.ClockSkew != nil},
		{"events", a.Events != nil},
		{"webhook", len(a.Webhooks) > 0},
	}...)
	for i := range a.Networks {
		options = append(options, a.Networks[i].ofEmbedded()...)
	}
	for _, o := range options {
		if o.given {
			return fmt.Errorf("%s: has no meaning beside upstream, where the keys are", o.name)
		}
	}
	return nil
}

// seal reads the files with certificates.
func (c *sidecarSettings) seal(_ context.Context, _ *App, s *settings) error {
	_, authorities, err := c.upstream.tls()
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	s.key = s.hash(append([]string{"upstream", c.edgeID, string(authorities)}, c.upstream.fields()...))
	return nil
}

// open connects to nothing yet: an upstream that is down does not keep the node from starting.
func (c *sidecarSettings) open(ctx context.Context, s *settings, limiter ratelimit.Limiter) (_ Node, err error) {
	config := c.config(s)
	if config.TLS, _, err = c.upstream.tls(); err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	config.Logger = logging.Current("talos.upstream")
	config.Observer = upstreamObserver{}
	n := new(Sidecar)
	config.StaleIfError = staleWindow(&s.cache)
	config.Counts = func() outage.Counts { return countsOf(n.verifier) }
	config.EdgeID, config.Version, config.FollowWait = c.edgeID, build.Read().Version, followWait(&s.cache)
	u, err := upstream.New(config)
	if err != nil {
		return nil, err
	}
	cache, uses := u.Fit(s.cache), new(usage.Recorder)
	cache.Used = uses.Record
	verifier, err := verify.New(cache, u)
	if err != nil {
		u.Close()
		return nil, fmt.Errorf("cache: %w", err)
	}
	remotes.Store(u, nil)
	n.verifier, n.limiter, n.outage = verifier, limiter, u.Outage
	n.uses = newUseWriter(ctx, uses, u.ReportUse, config.Logger)
	n.upstream, n.edgeID = u, c.edgeID
	own := make([]*network, len(s.networks))
	for i := range own {
		own[i] = new(network)
	}
	n.networks.Replace(n.members(s, own))
	u.Follow(ctx)
	return n, nil
}

// followWait is how long a question for the next change may wait. A verdict is refreshed when a fifth of its lifetime
// is left since the last answer, and should not be for that reason.
func followWait(c *verify.Config) time.Duration {
	const longest = 10 * time.Second
	return min(longest, cmp.Or(c.TTL, defaultTTL)/4)
}

// defaultTTL is the default of [verify.Config.TTL].
const defaultTTL = time.Minute

// describe names the upstream.
func (c *sidecarSettings) describe() []zap.Field {
	return []zap.Field{zap.String("mode", "sidecar"), zap.Strings("upstream", c.upstream.Addresses)}
}

// Verify asks the verifier. An upstream that has judged this node's own address is asked again, for the client's; an
// address that the client has not proved yet is not asked about.
func (n *Sidecar) Verify(r *http.Request, network core.NetworkID, credential string) (verify.Result, error) {
	result, err := n.verify(r, network, credential)
	if err != nil || result.Verdict.Code != core.CodeIPNotAllowed || clientaddr.InEarlyData(r) {
		return result, err
	}
	verdict, err := n.upstream.VerifyFor(r.Context(), network, credential, clientaddr.Of(r))
	if err != nil {
		return verify.Result{}, marked(err, n.outage())
	}
	result.Verdict, result.Now = verdict, time.Now()
	return result, nil
}

// Admin answers verifications from the cache and forwards the rest.
func (n *Sidecar) Admin(o adminapi.Options) http.Handler {
	return sidecar.Admin(sidecar.Options{
		Options: n.options(o), Upstream: sharedRemote{n.upstream}, EdgeID: n.edgeID,
	})
}

// Public serves self-revocation and the key set, both from the upstream.
func (n *Sidecar) Public(o adminapi.PublicOptions) *adminapi.Public {
	o.Options = n.options(o.Options)
	return sidecar.NewPublic(o, sharedRemote{n.upstream})
}

func (n *Sidecar) options(o adminapi.Options) adminapi.Options {
	o = n.base.options(o)
	o.Ready = n.upstream.Ready
	return o
}

func (n *Sidecar) close() error {
	n.uses.close()
	remotes.Delete(n.upstream)
	n.upstream.Close()
	return nil
}

// remotes has the [upstream.Remote] of each open sidecar of the process.
var remotes sync.Map

// sharedRemote is a sidecar's upstream as its surfaces use it: a change that passes through one sidecar counts for all,
// since another one may serve the same keys during a reload.
type sharedRemote struct{ *upstream.Remote }

// Forget forgets a key on every sidecar of the process.
func (sharedRemote) Forget(network core.NetworkID, keyID string, position uint64) {
	remotes.Range(func(remote, _ any) bool {
		remote.(*upstream.Remote).Forget(network, keyID, position) //nolint:errcheck,forcetypeassert // nothing else
		return true
	})
}

// ForgetAll forgets every key on every sidecar of the process.
func (sharedRemote) ForgetAll(position uint64) {
	remotes.Range(func(remote, _ any) bool {
		remote.(*upstream.Remote).ForgetAll(position) //nolint:errcheck,forcetypeassert // nothing else
		return true
	})
}

// Interface guards.
var (
	_ Node           = (*Sidecar)(nil)
	_ sidecar.Remote = sharedRemote{}
)
