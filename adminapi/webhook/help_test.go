package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/adminapi/webhook"
	"github.com/talos-edge/talos-edge/core"
)

const (
	secret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	hookURL = "https://example.com/hooks?token=of-the-url"
)

// delivery is a request that a receiver got.
type delivery struct {
	id, kind, keyID string
	header          http.Header
	body            []byte
	at              time.Time
}

// listener is a network in memory, of one server. Its connections work on the clock of a test.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

func (l *listener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// receiver is the server of somebody else.
type receiver struct {
	*listener
	server *httptest.Server

	mu     sync.Mutex
	got    []delivery // all that were answered with 2xx
	tries  int
	down   bool // no connection
	answer func(w http.ResponseWriter, r *http.Request, d delivery) (accepted bool)
}

func accept(w http.ResponseWriter, _ *http.Request, _ delivery) bool {
	w.WriteHeader(http.StatusNoContent)
	return true
}

// refuse answers everything with a status.
func refuse(status int) func(http.ResponseWriter, *http.Request, delivery) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ delivery) bool {
		w.WriteHeader(status)
		return false
	}
}

// newReceiver starts a server with TLS that accepts everything.
func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{
		listener: &listener{conns: make(chan net.Conn), closed: make(chan struct{})}, answer: accept,
	}
	r.server = httptest.NewUnstartedServer(r)
	if err := r.server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	r.server.Listener = r.listener
	r.server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	var message struct {
		Type string `json:"type"`
		Data struct {
			KeyID string `json:"key_id"`
		} `json:"data"`
	}
	_ = json.Unmarshal(body, &message)
	d := delivery{
		id: req.Header.Get("Webhook-Id"), kind: message.Type, keyID: message.Data.KeyID, header: req.Header, body: body,
		at: time.Now(),
	}
	r.mu.Lock()
	r.tries++
	answer := r.answer
	r.mu.Unlock()
	accepted := answer(w, req, d)
	r.mu.Lock()
	defer r.mu.Unlock()
	if accepted {
		r.got = append(r.got, d)
	}
}

// become changes how the receiver answers.
func (r *receiver) become(answer func(http.ResponseWriter, *http.Request, delivery) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// setDown takes the receiver away, or brings it back.
func (r *receiver) setDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// deliveries are what was accepted.
func (r *receiver) deliveries() []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]delivery(nil), r.got...)
}

// kinds are the types and key ids of what was accepted.
func (r *receiver) kinds() string {
	var b strings.Builder
	for _, d := range r.deliveries() {
		fmt.Fprintf(&b, "%s %s\n", d.kind, d.keyID)
	}
	return b.String()
}

func (r *receiver) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

// tls trusts the receiver.
func (r *receiver) tls() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(r.server.Certificate())
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// dial reaches the receiver unless it is down.
func (r *receiver) dial(ctx context.Context, network, address string) (net.Conn, error) {
	r.mu.Lock()
	down := r.down
	r.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.ErrClosed}
	}
	return r.listener.dial(ctx, network, address)
}

// setup is a database, a receiver, and what is known of the deliveries.
type setup struct {
	*testing.T
	*apitest.Store
	receiver *receiver
	logs     *observer.ObservedLogs
	logger   *zap.Logger

	mu      sync.Mutex
	results map[webhook.Result]int
}

// inBubble runs a test on a clock of its own.
func inBubble(t *testing.T, test func(s *setup)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		test(&setup{
			T: t, Store: apitest.NewStore(), receiver: newReceiver(t), logs: logs, logger: zap.New(core),
			results: map[webhook.Result]int{},
		})
	})
}

func (s *setup) config() webhook.Config {
	return webhook.Config{
		URL: hookURL, Secret: secret, Store: s.Store, Logger: s.logger, TLS: s.receiver.tls(), Dial: s.receiver.dial,
		Observe: func(result webhook.Result, n int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.results[result] += n
		},
	}
}

// start starts a sender that the test closes.
func (s *setup) start(change ...func(*webhook.Config)) *webhook.Sender {
	s.Helper()
	c := s.config()
	for _, f := range change {
		f(&c)
	}
	sender, err := webhook.New(c)
	if err != nil {
		s.Fatal(err)
	}
	sender.Start(s.Context())
	s.wait(0)
	return sender
}

// wait lets time pass, and then everything come to rest.
func (*setup) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *setup) count(result webhook.Result) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.results[result]
}

// create adds a key that expires after a time; 0: never.
func (s *setup) create(id string, expires time.Duration) {
	s.Helper()
	k := core.Key{
		ID: id, Kind: core.Issued, Name: "name of " + id, ActorID: "actor", Status: core.StatusActive,
		CreateTime: time.Now(), UpdateTime: time.Now(),
	}
	if expires != 0 {
		k.ExpireTime = time.Now().Add(expires)
	}
	if _, _, err := s.Create(s.Context(), k); err != nil {
		s.Fatal(err)
	}
}

// rename changes a key.
func (s *setup) rename(id string) {
	s.Helper()
	name := "another"
	u := core.Update{Patch: core.Patch{Name: &name}, Time: time.Now()}
	if _, err := s.Update(s.Context(), core.NetworkID{}, core.AnyKind, id, u); err != nil {
		s.Fatal(err)
	}
}

func (s *setup) revoke(id string) {
	s.Helper()
	_, err := s.Revoke(s.Context(), core.NetworkID{}, core.AnyKind, id, core.Revocation{Time: time.Now()})
	if err != nil {
		s.Fatal(err)
	}
}

// verify checks a signature by the words of the specification.
func verify(secret, id, timestamp, signature string, body []byte) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	for one := range strings.FieldsSeq(signature) {
		version, encoded, _ := strings.Cut(one, ",")
		sum, err := base64.StdEncoding.DecodeString(encoded)
		if err == nil && version == "v1" && hmac.Equal(sum, mac.Sum(nil)) {
			return nil
		}
	}
	return fmt.Errorf("the signature %s is not that of %s", signature, id)
}

// checkSignature verifies a delivery, and that it was signed at about the time it came.
func checkSignature(t *testing.T, d delivery) {
	t.Helper()
	timestamp := d.header.Get("Webhook-Timestamp")
	if err := verify(secret, d.id, timestamp, d.header.Get("Webhook-Signature"), d.body); err != nil {
		t.Error(err)
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if age := d.at.Sub(time.Unix(seconds, 0)); err != nil || age < 0 || age > 2*time.Second {
		t.Errorf("signed at %s, came at %s", timestamp, d.at)
	}
}

// checkOrder checks that each key's events came in their order, and all of a number: of each event the first delivery
// counts.
func checkOrder(t *testing.T, all []delivery, want int) {
	t.Helper()
	seen, last := map[string]bool{}, map[string]uint64{}
	for _, d := range all {
		if seen[d.id] {
			continue
		}
		seen[d.id] = true
		var position uint64
		if _, err := fmt.Sscanf(d.id, "event_feed-of-the-test_%d", &position); err != nil {
			t.Fatalf("%s: %v", d.id, err)
		}
		if position <= last[d.keyID] {
			t.Errorf("event %d of %s came after %d", position, d.keyID, last[d.keyID])
		}
		last[d.keyID] = position
	}
	if len(seen) != want {
		t.Errorf("%d of %d events came", len(seen), want)
	}
}
