package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/storage/pgtest"
)

// nodes are processes with one PostgreSQL database.
type nodes struct {
	server *pgtest.Server
	dsn    string
	env    []string // but for the database
	keys   string
}

func newNodes(t *testing.T, server *pgtest.Server) *nodes {
	t.Helper()
	n := &nodes{server: server}
	n.dsn = n.server.Database(t)
	n.keys = filepath.Join(t.TempDir(), "keys.json")
	if out, exit := runBinary(t, nil, "jwk", "generate", "eddsa", "--jwks", "-o", n.keys); exit != 0 {
		t.Fatal(out)
	}
	n.env = []string{envCurrent + "=" + strings.Repeat("s", 32), envSigningKeys + "=" + n.keys}
	return n
}

// start starts one more node, whose database has a DSN of its own if one is given.
func (n *nodes) start(t *testing.T, dsn string) *server {
	t.Helper()
	if dsn == "" {
		dsn = n.dsn
	}
	home := t.TempDir()
	return serveBinary(t, append(slices.Clone(n.env), envDSN+"="+dsn, "HOME="+home, "XDG_DATA_HOME="+home))
}

func (s *server) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(s.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// confirmed sends a change and reports whether it was acknowledged, and whether every node has confirmed it.
func (s *server) confirmed(ctx context.Context, path, body string) (answer []byte, made, everywhere bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint+path, strings.NewReader(body))
	if err != nil {
		return nil, false, false
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, false, false
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(resp.Body)
	made = err == nil && resp.StatusCode == http.StatusOK
	return answer, made, made && resp.Header.Get(client.UnconfirmedHeader) == "0"
}

func TestNodes_EachRefusesWhatAnotherHasRevoked(t *testing.T) {
	t.Parallel()
	n := newNodes(t, pgtest.Shared(t))
	a, b := n.start(t, ""), n.start(t, "")
	secret, keyID := a.issue(t)
	b.wantVerdict(t, secret, true)
	if out, exit := a.talos(t, "keys", "revoke", keyID, "--wait", "30s"); exit != 0 ||
		!strings.Contains(out, "confirmed on 1 of 1 edges") {
		t.Errorf("revoking: exit %d\n%s", exit, out)
	}
	b.wantVerdict(t, secret, false)
	if out, _ := a.talos(t, "edges"); strings.Count(out, "live") != 1 {
		t.Errorf("the edges of a node are the other nodes:\n%s", out)
	}
	secret, _ = a.issue(t)
	token, exit := a.talos(t, "keys", "derive-token", secret, "-q")
	if exit != 0 {
		t.Fatal(token)
	}
	b.wantVerdict(t, strings.TrimSpace(token), true)
}

func TestNodes_WithoutSharedSecretsDoNotStart(t *testing.T) {
	t.Parallel()
	n := newNodes(t, pgtest.Shared(t))
	for _, missing := range []string{envCurrent, envSigningKeys} {
		env := slices.DeleteFunc(slices.Clone(n.env), func(v string) bool { return strings.HasPrefix(v, missing) })
		_, stderr, exit := runBinaryBoth(t, append(env, envDSN+"="+n.dsn, "HOME="+t.TempDir()), "serve")
		if exit == 0 || !strings.Contains(stderr, missing) {
			t.Errorf("without %s: exit %d\n%s", missing, exit, stderr)
		}
	}
}

// A node that is cut off from its database knows what was revoked before, and serves what it has verified by the rules
// for a database that fails.
func TestNodes_OneThatIsCutOffServesWhatItKnows(t *testing.T) {
	t.Parallel()
	n := newNodes(t, pgtest.Start(t))
	road := newRoad(t, n.server.Addr())
	a, b := n.start(t, ""), n.start(t, road.through(t, n.dsn))
	good, _ := a.issue(t)
	bad, badID := a.issue(t)
	late, lateID := a.issue(t)
	for _, secret := range []string{good, bad, late} {
		b.wantVerdict(t, secret, true)
	}
	if out, exit := a.talos(t, "keys", "revoke", badID, "--wait", "30s"); exit != 0 {
		t.Fatal(out)
	}
	for _, secret := range []string{good, late} { // now that b has heard that they were issued
		b.wantVerdict(t, secret, true)
	}
	road.close()
	awaitStatus(t, b.endpoint+"/health/ready", http.StatusServiceUnavailable)
	b.wantVerdict(t, good, true)
	if verdict, err := b.client(t).Verify(t.Context(), bad); err == nil && verdict.IsValid {
		t.Error("a key is admitted that the node knows to be revoked")
	}
	if _, exit := b.talos(t, "keys", "issue", "x", "--actor", "a"); exit == 0 {
		t.Error("a key was issued without a database")
	}
	if out, exit := a.talos(t, "keys", "revoke", lateID, "--wait", "1s"); exit != exitUnconfirmed {
		t.Errorf("with a node that is cut off: exit %d\n%s", exit, out)
	}
	road.open()
	awaitStatus(t, b.endpoint+"/health/ready", http.StatusOK)
	awaitVerdict(t, b.client(t), late, false, "the node that was cut off")
	b.wantVerdict(t, good, true)
}

// rounds is how often the servers are made to fail.
func rounds() int {
	if os.Getenv("TALOS_LONG") != "" {
		return 20
	}
	return 2
}

// TestNodes_LoseNothing has three nodes make changes while one of them is killed, and the database is killed, stopped
// and has its connections cut.
func TestNodes_LoseNothing(t *testing.T) {
	t.Parallel()
	n := newNodes(t, pgtest.Start(t))
	all := []*server{n.start(t, ""), n.start(t, ""), n.start(t, "")}
	book := &ledger{revoked: map[string]bool{}}
	for round := range rounds() {
		book.work(t, all, func() {
			n.server.CutConnections(t, pgtest.Name(t, n.dsn))
			n.server.Kill(t)
			n.server.Restart(t)
			if err := all[0].stop(t, syscall.SIGKILL); err == nil {
				t.Error("a killed node ended well")
			}
			n.server.Stop(t, pgtest.Fast)
			n.server.Restart(t)
			all[0] = n.start(t, "")
		})
		for i, s := range all {
			awaitStatus(t, s.endpoint+"/health/ready", http.StatusOK)
			book.check(t, fmt.Sprintf("round %d, node %d", round, i), s)
		}
	}
}

// ledger has what was acknowledged.
type ledger struct {
	mu      sync.Mutex
	revoked map[string]bool // by secret; false: issued and never asked to be revoked
}

// work has each node issue and revoke keys while what is done to them lasts.
func (l *ledger) work(t *testing.T, all []*server, trouble func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	all = slices.Clone(all) // those that are killed among them
	var workers sync.WaitGroup
	for i, s := range slices.Concat(all, all) {
		workers.Go(func() {
			for random := rand.New(rand.NewPCG(uint64(i), 1)); ctx.Err() == nil; {
				l.one(ctx, t, s, all, random.IntN(2) == 0)
			}
		})
	}
	trouble()
	cancel()
	workers.Wait()
}

// one issues a key, and may revoke it: then no node that has confirmed it admits the key.
func (l *ledger) one(ctx context.Context, t *testing.T, s *server, all []*server, revoke bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	answer, made, _ := s.confirmed(ctx, "/v2alpha1/admin/issuedApiKeys", `{"name":"n","actor_id":"a"}`)
	if !made {
		return
	}
	var issued client.IssueResponse
	if err := json.Unmarshal(answer, &issued); err != nil {
		t.Error(err)
		return
	}
	if !revoke {
		l.note(issued.Secret, false)
		return
	}
	path := "/v2alpha1/admin/apiKeys/" + issued.IssuedAPIKey.KeyID + ":revoke?wait=10s"
	_, made, everywhere := s.confirmed(ctx, path, "{}")
	if !made {
		return // it may have been revoked or not
	}
	l.note(issued.Secret, true)
	if !everywhere {
		return
	}
	for _, other := range all {
		c, err := client.New(other.endpoint)
		if err != nil {
			t.Error(err)
			return
		}
		if verdict, err := c.Verify(ctx, issued.Secret); err == nil && verdict.IsValid {
			t.Errorf("%s admits a key after every node has confirmed its revocation", other.endpoint)
		}
		c.Close()
	}
}

func (l *ledger) note(secret string, revoked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revoked[secret] = revoked
}

// check compares a node with what was acknowledged, after all trouble.
func (l *ledger) check(t *testing.T, where string, s *server) {
	t.Helper()
	c := s.client(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.revoked) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	for secret, revoked := range l.revoked {
		// A verdict from before may be in its cache until it has heard of the change.
		awaitVerdict(t, c, secret, !revoked, where)
	}
	t.Logf("%s: %d keys are as they were acknowledged", where, len(l.revoked))
}

// awaitNil calls try until it returns nil, for a minute at most.
func awaitNil(t *testing.T, try func() error, format string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf(format+": %v", append(args, err)...)
		}
	}
}

func awaitStatus(t *testing.T, target string, want int) {
	t.Helper()
	awaitNil(t, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			return errors.New(resp.Status)
		}
		return nil
	}, "%s", target)
}

func awaitVerdict(t *testing.T, c *client.Client, secret string, want bool, where string) {
	t.Helper()
	awaitNil(t, func() error {
		verdict, err := c.Verify(t.Context(), secret)
		if err == nil && verdict.IsValid != want {
			err = fmt.Errorf("valid: %v", verdict.IsValid)
		}
		return err
	}, "%s", where)
}

// road is a TCP proxy before a server, which can be closed.
type road struct {
	listener *listener
	to       string

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

func newRoad(t *testing.T, to string) *road {
	t.Helper()
	r := &road{listener: listen(t), to: to, conns: map[net.Conn]struct{}{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := r.listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.carry(t.Context(), in) })
		}
	})
	t.Cleanup(func() {
		r.listener.close()
		r.close()
		running.Wait()
	})
	return r
}

// through is a DSN by this road.
func (r *road) through(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = r.listener.Addr().String()
	return u.String()
}

func (r *road) carry(ctx context.Context, in net.Conn) {
	out, err := new(net.Dialer).DialContext(ctx, "tcp", r.to)
	if err != nil {
		_ = in.Close()
		return
	}
	if !r.add(in, out) {
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_, _ = in.Close(), out.Close()
		})
	}
	both.Wait()
}

// add notes connections, or closes them when the road is closed.
func (r *road) add(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if r.closed {
			_ = c.Close()
		}
		r.conns[c] = struct{}{}
	}
	return !r.closed
}

func (r *road) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for c := range r.conns {
		_ = c.Close()
	}
	clear(r.conns)
}

func (r *road) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = false
}
