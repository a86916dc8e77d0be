package upstream

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
)

// exchange is a request to the node, and what became of it, whatever its caller knows of that.
type exchange struct {
	node   *restartable
	lossy  *rand.Rand // it takes a while, and its answer may be lost; nil: neither
	status int        // 0: it was not sent
}

// RoundTrip carries the request.
func (e *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	in := httptest.NewRequestWithContext(out.Context(), out.Method, out.URL.RequestURI(), out.Body)
	in.Header = out.Header
	if e.lossy != nil {
		pause(out.Context(), time.Duration(e.lossy.IntN(100))*time.Millisecond)
	}
	w, arrives := e.node.serve(in)
	if w != nil {
		e.status = w.Code
	}
	if e.lossy != nil {
		pause(out.Context(), time.Duration(e.lossy.IntN(100))*time.Millisecond)
		arrives = arrives && e.lossy.IntN(10) > 0
	}
	if !arrives {
		return nil, io.ErrUnexpectedEOF
	}
	return w.Result(), nil
}

// client calls the node by an exchange.
func (e *exchange) client(t testing.TB) *client.Client {
	t.Helper()
	api, err := client.New("http://node.localhost", client.WithTransport(e))
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// caller makes changes.
type caller struct {
	*run
	random *rand.Rand
}

// making sends a request for a change.
type making func(api *client.Client, options ...client.CallOption) error

// operate changes keys until the end.
func (c *caller) operate() {
	for c.over.Err() == nil {
		pause(c.over, time.Duration(c.random.IntN(200))*time.Millisecond)
		k := c.keys[c.random.IntN(len(c.keys))]
		scope := fmt.Sprintf("v%d", c.serial.Add(1)) // no two changes bring about the same state
		if k.isDue() {
			c.issue(k, scope)
			continue
		}
		what, chance := updates, c.random.IntN(10)
		switch {
		case chance < 2:
			what = revokes
		case k.raw != "" && chance < 5:
			what = creates
		case k.raw != "" && chance < 8:
			what = removes
		}
		name, cred, id := k.current()
		c.change(&operation{key: name, action: what, state: "[" + scope + "]"}, c.making(what, cred, id, scope))
		if what == revokes && c.random.IntN(2) == 0 { // otherwise it is changed once more
			k.end()
		}
	}
}

// making is a change of a key.
func (*caller) making(what action, cred, id, scope string) making {
	return func(api *client.Client, o ...client.CallOption) (err error) {
		ctx := context.Background()
		switch what {
		case creates:
			_, err = api.Import(ctx, client.ImportRequest{RawKey: cred, IssueRequest: issueRequest(scope)}, o...)
		case updates:
			_, err = api.Update(ctx, client.UpdateRequest{KeyID: id, Scopes: []string{scope}}, o...)
		case revokes:
			err = api.Revoke(ctx, client.RevokeRequest{KeyID: id}, o...)
		default:
			err = api.DeleteImported(ctx, id, o...)
		}
		return err
	}
}

func issueRequest(scope string) client.IssueRequest {
	return client.IssueRequest{Name: "n", ActorID: "a", Scopes: []string{scope}}
}

// issue makes a new key in the place of one that is revoked.
func (c *caller) issue(k *historyKey, scope string) {
	o := &operation{key: fmt.Sprintf("issued-%d", c.serial.Add(1)), action: creates, state: "[" + scope + "]"}
	var out *client.IssueResponse
	c.change(o, func(api *client.Client, options ...client.CallOption) (err error) {
		out, err = api.Issue(context.Background(), issueRequest(scope), options...)
		return err
	})
	if out != nil { // otherwise nobody knows the credential
		k.begin(o.key, out)
	}
}

// change makes a change, and notes which edges have confirmed it. Most changes wait for that.
func (c *caller) change(o *operation, f making) {
	var edge client.EdgeAnswer
	var confirmed client.Confirmation
	options := []client.CallOption{client.Edge(&edge)}
	if c.random.IntN(4) > 0 {
		wait := time.Duration(c.random.Int64N(int64(2*time.Second + 2*c.late)))
		options = append(options, client.Wait(wait, &confirmed))
	}
	at := c.anyNode(c.random)
	waited := at.edges()
	for _, n := range c.nodes {
		if n != at && n.isRunning() {
			waited = append(waited, n.name)
		}
	}
	o.call = c.now()
	sent := &exchange{node: at, lossy: c.random}
	err := f(sent.client(c.t), options...)
	o.returned = c.now()
	switch {
	case sent.status == 0:
		return
	case sent.status == http.StatusOK:
		o.effect = made
	case sent.status == http.StatusNotFound, sent.status == http.StatusConflict:
		o.effect = notAllowed
	case sent.status >= http.StatusInternalServerError:
		o.effect = unclear
	default:
		c.t.Errorf("the node answers %s with %v", o, err)
	}
	// Which edges a change waits for is not said. Whoever was known to the node before the change, and is not named
	// after it, has confirmed it.
	if err != nil || !confirmed.Known || confirmed.Unconfirmed > len(confirmed.Names) {
		waited = nil
	}
	waited = slices.DeleteFunc(waited, func(name string) bool { return slices.Contains(confirmed.Names, name) })
	c.add(o, waited...)
	c.seen.confirmed.Add(int64(len(waited)))
	c.seen.unconfirmed.Add(int64(confirmed.Unconfirmed))
	if err == nil {
		c.noteNewest(o, edge.Position)
	}
}

// newest is the last change that was acknowledged, with a position in the feed that is not before it.
func (r *run) newest() (*operation, uint64) {
	r.newestMu.Lock()
	defer r.newestMu.Unlock()
	return r.newestChange, r.newestPosition
}

func (r *run) noteNewest(o *operation, position uint64) {
	r.newestMu.Lock()
	defer r.newestMu.Unlock()
	if position > r.newestPosition {
		r.newestChange, r.newestPosition = o, position
	}
}
