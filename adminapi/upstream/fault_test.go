package upstream

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// hijack takes the connection over, writes some text and ends it with a reset.
func hijack(w http.ResponseWriter, text string) {
	conn, b, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = b.WriteString(text)
	_ = b.Flush()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// drip writes a byte of an answer that never ends, again and again.
func drip(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := io.WriteString(w, " "); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// saying answers with a status and a text.
func saying(status int, contentType, text string, header ...string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		return true
	}
}

type fault func(w http.ResponseWriter, r *http.Request, body []byte) bool

// faultCase is a way to misbehave, and how a call that meets it ends.
type faultCase struct {
	fault  fault
	result Result
}

const (
	jsonType = "application/json"
	envelope = `{"error":{"code":1,"message":"x","status":"X","details":[{"reason":"SOME_REASON"}]}}`
)

// What every failing upstream has in common: nobody is told that a credential is or is not valid, nothing is
// remembered of it, and when it is over everything is as it should be.
func TestAttack06And23_AFailureSaysNothingAboutACredential(t *testing.T) {
	t.Parallel()
	cases := map[string]faultCase{
		"it hangs": {func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
			<-r.Context().Done()
			return true
		}, ResultTimeout},
		"it drips": {
			func(w http.ResponseWriter, r *http.Request, _ []byte) bool { drip(w, r); return true },
			ResultTimeout,
		},
		"it resets before the answer": {
			func(w http.ResponseWriter, _ *http.Request, _ []byte) bool { hijack(w, ""); return true },
			ResultUnreachable,
		},
		"it resets amid the answer": {func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"+
				"{\"results\":[{\"is_valid\":true")
			return true
		}, ResultUnreachable},
		"it speaks another protocol": {func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			hijack(w, "220 mail.example.com ESMTP\r\n")
			return true
		}, ResultUnreachable},
		"500":                  {saying(500, jsonType, envelope), ResultFailed},
		"502 with a page":      {saying(502, "text/html", "<html>"), ResultFailed},
		"503 with Retry-After": {saying(503, jsonType, envelope, "Retry-After", "7"), ResultFailed},
		"429 with Retry-After": {saying(429, jsonType, envelope, "Retry-After", "1"), ResultThrottled},
		"401":                  {saying(401, jsonType, envelope), ResultMisconfigured},
		"403":                  {saying(403, "text/plain", "no"), ResultMisconfigured},
		"404":                  {saying(404, "text/plain", "404 page not found"), ResultMisconfigured},
		"405":                  {saying(405, "text/plain", "no"), ResultMisconfigured},
		"a redirect": {
			saying(307, "text/plain", "", "Location", "http://127.0.0.1:1/"),
			ResultMisconfigured,
		},
		"400":                         {saying(400, jsonType, envelope), ResultRejected},
		"413":                         {saying(413, jsonType, envelope), ResultRejected},
		"422":                         {saying(422, jsonType, envelope), ResultRejected},
		"a page":                      {saying(200, "text/html", "<html>is_valid</html>"), ResultGarbage},
		"JSON that says it is a page": {batch("text/html", `{"is_valid":true}`), ResultGarbage},
		"nothing":                     {saying(200, jsonType, ""), ResultGarbage},
		"204":                         {saying(204, jsonType, ""), ResultGarbage},
		"half of the JSON":            {saying(200, jsonType, `{"results":[{"is_valid":true`), ResultGarbage},
		"JSON of another kind":        {saying(200, jsonType, `[{"is_valid":true}]`), ResultGarbage},
		"no results":                  {saying(200, jsonType, `{}`), ResultGarbage},
		"too few results":             {saying(200, jsonType, `{"results":[]}`), ResultGarbage},
		"too many results": {
			saying(200, jsonType,
				`{"results":[{"is_valid":true},{"is_valid":true},{"is_valid":true},{"is_valid":true}]}`),
			ResultGarbage,
		},
		"an answer of nine mebibytes":   {batch(jsonType, `"`+strings.Repeat("x", 9<<20)+`"`), ResultGarbage},
		"results that are null":         {each(`null`), ResultOK},
		"results that are text":         {each(`"valid"`), ResultOK},
		"results that say nothing":      {each(`{}`), ResultOK},
		"invalid for no reason":         {each(`{"is_valid":false}`), ResultOK},
		"invalid for an unknown reason": {each(`{"is_valid":false,"error_code":"VERIFICATION_ERROR_MOON"}`), ResultOK},
		"INTERNAL": {
			each(`{"is_valid":false,"error_code":"VERIFICATION_ERROR_INTERNAL"}`),
			ResultOK,
		},
		"valid without a key": {each(`{"is_valid":true,"status":"KEY_STATUS_ACTIVE"}`), ResultOK},
		"valid with another key": {
			each(`{"is_valid":true,"status":"KEY_STATUS_ACTIVE","key_id":"cfe0b8a0-0000-4000-8000-000000000000"}`),
			ResultOK,
		},
	}
	maps.Copy(cases, moreFaults())
	if len(cases) < 67 {
		t.Errorf("%d ways to misbehave are too few", len(cases))
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !tc.timed() {
				tc.misbehave(t, overNetwork)
				return
			}
			synctest.Test(t, func(t *testing.T) { tc.misbehave(t, inMemory) })
		})
	}
}

// timed reports whether calls end because of time. What they are counted as would depend on how busy the machine is, so
// such a case has a clock of its own.
func (tc faultCase) timed() bool { return tc.result == ResultTimeout || tc.result == ResultThrottled }

// misbehave has an upstream misbehave and recover.
func (tc faultCase) misbehave(t *testing.T, reach reaching) {
	t.Helper()
	s := newStandIn()
	warm, _ := s.add(t, nil)
	cold, coldID := s.add(t, nil)
	revoked, _ := s.add(t, func(r map[string]any) {
		r["is_valid"], r["error_code"], r["status"] = false, "VERIFICATION_ERROR_REVOKED", "KEY_STATUS_REVOKED"
	})
	unknown, _ := mint(t)
	counter := new(callCounter)
	u, logs := reach(t, s, func(c *Config) {
		c.Observer = counter
		if tc.timed() {
			c.Timeout = 250 * time.Millisecond
		}
	})
	v := verifying(t, u, verify.Config{})
	eventually(t, "it works before, and is remembered", func() bool {
		r, err := v.Verify(t.Context(), core.NetworkID{}, warm, verify.Use)
		return err == nil && r.Verdict.Code == core.CodeValid && r.Cache == verify.Hit
	})
	before := counter.all()
	s.set(func() { s.fault = tc.fault })
	var errs []error
	for i := range 4 {
		for _, cred := range []string{cold, revoked, unknown} {
			r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
			if err == nil || r.Verdict != nil || core.ReasonOf(err) != core.Unavailable {
				t.Errorf("round %d: got %+v, %v", i, r.Verdict, err)
			}
			errs = append(errs, err)
		}
		for _, r := range v.VerifyMany(t.Context(), core.NetworkID{}, []string{cold, unknown}, verify.Use) {
			if r.Err == nil || r.Verdict != nil || core.ReasonOf(r.Err) != core.Unavailable {
				t.Errorf("round %d, together: got %+v, %v", i, r.Verdict, r.Err)
			}
		}
		if r, err := v.Verify(t.Context(), core.NetworkID{}, warm, verify.Use); err != nil ||
			r.Cache != verify.Hit {
			t.Errorf("round %d: what is remembered: got %+v, %v", i, r, err)
		}
	}
	if got := errors.Is(errs[0], verify.ErrMisconfigured); got != (tc.result == ResultMisconfigured) {
		t.Errorf("misconfigured: %t (%v)", got, errs[0])
	}
	for result, n := range counter.all() {
		if n > before[result] != (result == tc.result) && result != ResultRefused {
			t.Errorf("%d calls were counted as %q", n-before[result], result)
		}
	}
	noSecret(t, logs, errs, cold, revoked, unknown, warm)
	s.set(func() { s.fault = nil })
	eventually(t, "it recovers", func() bool {
		_, err := v.Verify(t.Context(), core.NetworkID{}, cold, verify.Use)
		return err == nil
	})
	for cred, want := range map[string]core.Code{
		cold: core.CodeValid, revoked: core.CodeRevoked, unknown: core.CodeNotFound, warm: core.CodeValid,
	} {
		eventually(t, "all is well", func() bool {
			r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.Use)
			if err == nil && (r.Verdict.Code != want ||
				cred == cold && (r.Verdict.KeyID != coldID || r.Verdict.ActorID != "actor of "+coldID)) {
				t.Errorf("after: got %+v, want code %d", r.Verdict, want)
			}
			return err == nil
		})
	}
}

// each answers a batch with as many results as it asks for, all the same.
func each(result string) fault { return batch(jsonType, result) }

// batch is each with a content type.
func batch(contentType, result string) fault {
	return func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if !strings.HasSuffix(r.URL.Path, ":batchVerify") {
			return false
		}
		n := strings.Count(string(body), `"credential"`)
		results := strings.TrimSuffix(strings.Repeat(result+",", n), ",")
		return saying(200, contentType, `{"results":[`+results+`]}`)(w, r, body)
	}
}

func TestAnUpstreamThatIsAwayAndComesBackAtItsAddress(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	cred, _ := s.add(t, nil)
	server := serve(t, s, "")
	counter := new(callCounter)
	u, _ := open(t, func(c *Config) { c.Observer = counter }, server.URL)
	v := verifying(t, u, verify.Config{})
	at := server.Listener.Addr().String()
	if _, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.NoCache); err != nil {
		t.Fatal(err)
	}
	server.CloseClientConnections()
	server.Close()
	for range 8 {
		r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.NoStore)
		if core.ReasonOf(err) != core.Unavailable {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	if got := counter.all(); got[ResultUnreachable] == 0 {
		t.Errorf("got %v", got)
	}
	other := newStandIn() // another one, which does not know the key
	serve(t, other, at)
	eventually(t, "the new one is asked", func() bool {
		r, err := v.Verify(t.Context(), core.NetworkID{}, cred, verify.NoStore)
		return err == nil && r.Verdict.Code == core.CodeNotFound
	})
}

func TestAHostThatHasNoAddressIsUnavailable(t *testing.T) {
	t.Parallel()
	cred, _ := mint(t)
	u, logs := open(t, nil, "http://no-such-host.invalid:4420")
	_, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
	if core.ReasonOf(err) != core.Unavailable || errors.Is(err, verify.ErrMisconfigured) {
		t.Errorf("got %v", err)
	}
	noSecret(t, logs, []error{err}, cred)
}

func TestAConnectionThatDiedWhileIdleIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	cred, _ := s.add(t, nil)
	last := make(map[string]int) // requests by the client's port
	s.fault = func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		s.mu.Lock()
		last[r.RemoteAddr]++
		n := last[r.RemoteAddr]
		s.mu.Unlock()
		if n > 1 {
			hijack(w, "")
			return true
		}
		return false
	}
	counter := new(callCounter)
	u, _ := open(t, func(c *Config) { c.NoIPLists, c.Observer = true, counter }, serve(t, s, "").URL)
	for range 10 {
		if v, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err != nil || v.Code != core.CodeValid {
			t.Fatalf("got %+v, %v", v, err)
		}
	}
	if got := counter.all(); got[ResultOK] != 10 {
		t.Errorf("got %v", got)
	}
}

func TestOneLossInAHundredIsNotSeen(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	var n atomic.Int64
	s.fault = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		if n.Add(1)%100 == 50 {
			hijack(w, "")
			return true
		}
		return false
	}
	u, _ := open(t, func(c *Config) { c.NoIPLists = true }, serve(t, s, "").URL)
	cred, _ := s.add(t, nil)
	for i := range 500 {
		if v, err := lookUp(t.Context(), u, core.NetworkID{}, cred); err != nil || v.Code != core.CodeValid {
			t.Fatalf("look-up %d: got %+v, %v", i, v, err)
		}
	}
}

func TestAttack08_OnePoisonedCredentialFailsAlone(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 413, 422} {
		s := newStandIn()
		s.edge = true
		poison, _ := s.add(t, nil)
		s.fault = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			return strings.Contains(string(body), poison) && saying(status, jsonType, envelope)(w, r, body)
		}
		creds := []string{poison}
		for range 60 {
			cred, _ := s.add(t, nil)
			creds = append(creds, cred)
		}
		u, logs := open(t, nil, serve(t, s, "").URL)
		v := verifying(t, u, verify.Config{})
		results := v.VerifyMany(t.Context(), core.NetworkID{}, creds, verify.Use)
		if core.ReasonOf(results[0].Err) != core.Unavailable {
			t.Errorf("the poisoned one: got %+v", results[0])
		}
		for i, r := range results[1:] {
			if r.Err != nil || r.Verdict.Code != core.CodeValid {
				t.Errorf("credential %d: got %+v, %v", i+1, r.Verdict, r.Err)
			}
		}
		for range 20 { // an attacker cannot open the breaker with it
			_, err := v.Verify(t.Context(), core.NetworkID{}, poison, verify.Use)
			noSecret(t, logs, []error{err}, poison)
		}
		if got := u.Breakers()[0].State; got != "closed" {
			t.Errorf("%d: the breaker is %s", status, got)
		}
	}
}

func TestOneResultThatCannotBeReadFailsAlone(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.edge = true
	odd, _ := s.add(t, func(r map[string]any) { r["scopes"] = "not a list" })
	fine, _ := s.add(t, nil)
	u, _ := open(t, nil, serve(t, s, "").URL)
	results, err := lookUpMany(t.Context(), u, core.NetworkID{}, []string{odd, fine})
	if err != nil || results[0].Err == nil || results[1].Err != nil || results[1].Verdict.Code != core.CodeValid {
		t.Errorf("got %+v, %v", results, err)
	}
}
