package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/caddymodule/node"
)

// answer is what one address of the upstream said to a verification of a made-up credential.
type answer struct {
	address  string
	err      error // there was none
	status   int
	verdict  bool      // it is one of the API
	edge     bool      // the upstream judges keys for edges, as a node of ours does
	date     time.Time // by the upstream's clock; zero: not given
	received time.Time // by this machine's
}

// madeUp is no credential: whoever is asked about it finds that out without a look at the database.
const madeUp = "talos-doctor"

// ask asks each address, with the sidecar's own authority.
func ask(ctx context.Context, u *node.Upstream) (all []answer) {
	for _, address := range u.Addresses {
		a := answer{address: address}
		a.err = a.ask(ctx, u)
		all = append(all, a)
	}
	return all
}

func (a *answer) ask(ctx context.Context, u *node.Upstream) error {
	ctx, cancel := context.WithTimeout(ctx, timeout/2)
	defer cancel()
	c, err := u.Client(a.address)
	if err != nil {
		return err
	}
	defer c.Close()
	base, carrier := c.Target()
	body := strings.NewReader(`{"credential":"` + madeUp + `"}`)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base.String()+client.VerifyPath, body)
	if err != nil {
		return err
	}
	for name, values := range u.Header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(client.EdgeHeader, "1")
	r.Host = u.TLSServerName
	response, err := carrier.RoundTrip(r)
	if err != nil {
		return client.WithoutAnswer(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return errors.New("the answer broke off")
	}
	a.received, a.status = time.Now(), response.StatusCode
	a.edge = client.ReadEdgeAnswer(response.Header).Understood
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		a.date = date
	}
	var verdict struct {
		Valid *bool `json:"is_valid"`
	}
	a.verdict = json.Unmarshal(text, &verdict) == nil && verdict.Valid != nil
	return nil
}

// checkUpstream judges what the upstream's addresses said.
func checkUpstream(_ context.Context, s *subject) (found []Finding, skipped string) {
	if s.Node.Upstream == nil {
		return nil, "this node has no upstream"
	}
	good := false
	for i := range s.answers {
		good = good || s.answers[i].err == nil && s.answers[i].status == http.StatusOK && s.answers[i].verdict
	}
	for i := range s.answers {
		found = append(found, s.answers[i].judge(good)...)
	}
	return found, ""
}

// judge judges one address; another one is good, or not.
func (a *answer) judge(good bool) []Finding {
	f := Finding{
		Severity: Error,
		Why:      "without its upstream the sidecar answers 503 for every key that it does not remember",
	}
	if good {
		f.Severity, f.Why = Warning, "when the other addresses fail, this one does not take their place"
	}
	switch {
	case a.err != nil:
		f.What = fmt.Sprintf("the upstream %s does not answer: %v", a.address, a.err)
		f.Fix = "start it, or mend the address, the network or the certificate (tls_ca, tls_server_name)"
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		f.What = fmt.Sprintf("the upstream %s refuses this sidecar (HTTP %d)", a.address, a.status)
		f.Fix = "give it its token (header), its certificate (tls_cert), or at a node of ours its range (allow) and " +
			"name (hosts) in talos_admin"
	case a.status != http.StatusOK:
		f.What = fmt.Sprintf("the upstream %s answers HTTP %d to a verification", a.address, a.status)
		f.Fix = "name the address of the private surface (talos_admin), with the path before /v2alpha1 if there is one"
	case !a.verdict:
		f.What = fmt.Sprintf("the upstream %s answers with something else than a verdict", a.address)
		f.Fix = "name the address of a server that speaks the v2alpha1 API"
	case !a.edge:
		f.Severity = Note
		f.What = fmt.Sprintf("the upstream %s is another implementation, or an earlier build", a.address)
		f.Why = "it judges the sidecar's address and not the client's, and tells no positions of changes"
		f.Fix = "read `At another implementation` in caddymodule/sidecar.md; `ip_lists none` if no key has an IP list"
	default:
		return nil
	}
	return []Finding{f}
}
