package adminapi

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
)

func (n *node) selfRevoke(cred string) *httptest.ResponseRecorder {
	return apitest.Post(n.publicHandler(), selfRevokePath, `{"credential":"`+cred+`"}`)
}

func TestAHolderRevokesItsOwnCredentialAtOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, h := range []http.Handler{n.publicHandler(), n.admin} {
		k := n.issue(t, "")
		if !n.verify(t, k.Secret).IsValid {
			t.Fatal("a new key is not valid")
		}
		body := `{"credential":"` + k.Secret + `","reason":"REVOCATION_REASON_KEY_COMPROMISE"}`
		w := apitest.Post(h, selfRevokePath, body)
		if w.Code != http.StatusOK || w.Body.String() != "{}\n" {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		apitest.WantHeaders(t, w)
		if v := n.verify(t, k.Secret); v.ErrorCode != client.VerificationErrorRevoked {
			t.Errorf("after it: %+v", v)
		}
		apitest.WantError(t, apitest.Post(h, selfRevokePath, body), http.StatusUnauthorized, core.KeyRevoked)
	}
}

func TestSelfRevokeRefusesWhatIsNoKeyOfTheHolder(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, "")
	for body, want := range map[string]struct {
		status int
		reason core.Reason
	}{
		``:                  {400, core.CredentialRequired},
		`{}`:                {400, core.CredentialRequired},
		`{"credential":""}`: {400, core.CredentialRequired},
		`{"credential":1}`:  {400, core.BadRequest},
		`{"credential":"` + k.Secret + `","reason":"REVOCATION_REASON_PRIVILEGE_WITHDRAWN"}`: {
			400, core.BadRequest,
		},
		`{"credential":"` + k.Secret + `","reason":"x"}`:      {400, core.BadRequest},
		`{"credential":"eyJhbGciOiJub25lIn0.e30.x"}`:          {400, core.DerivedTokenNotRevocable},
		`{"credential":"mc_v1_AgEC"}`:                         {400, core.DerivedTokenNotRevocable},
		`{"credential":"a\u0000b"}`:                           {400, core.InvalidKeyFormat},
		`{"credential":"` + strings.Repeat("x", 16385) + `"}`: {400, core.InvalidKeyFormat},
	} {
		apitest.WantError(t, apitest.Post(n.admin, selfRevokePath, body), want.status, want.reason)
	}
	if !n.verify(t, k.Secret).IsValid {
		t.Error("a refused revocation revoked the key")
	}
}

func TestAttack20_SelfRevokeIsNoOracle(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	want := ""
	for name, cred := range forgeries(t, n) {
		n.public.limiter = NewFailureLimiter()
		w := n.selfRevoke(cred)
		apitest.WantError(t, w, http.StatusNotFound, core.KeyNotFound)
		answer := w.Body.String() + apitest.Marshal(t, w.Header())
		if want == "" {
			want = answer
		}
		if answer != want {
			t.Errorf("%s: got %s, want %s", name, answer, want)
		}
	}
}

func TestAttack20_ABodyOver32KiBIsRefusedAndCountsAsAFailure(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	long := strings.Repeat("x", maxSelfRevokeBody)
	for range failureBurst {
		apitest.WantError(t, n.selfRevoke(long), http.StatusRequestEntityTooLarge, core.BadRequest)
	}
	apitest.WantError(t, n.selfRevoke(long), http.StatusTooManyRequests, core.TooManyRequests)
}

func TestAttack20_FailedAttemptsAreLimitedByAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		for range failureBurst {
			apitest.WantError(t, n.selfRevoke("guess"), http.StatusNotFound, core.KeyNotFound)
		}
		k := n.issue(t, "")
		read := &readCounter{}
		r := apitest.Request(http.MethodPost, selfRevokePath, `{"credential":"`+k.Secret+`"}`)
		r.Body = read
		w := apitest.Serve(n.publicHandler(), r)
		apitest.WantError(t, w, http.StatusTooManyRequests, core.TooManyRequests)
		if s := w.Header().Get("Retry-After"); s != "6" {
			t.Errorf("Retry-After is %q", s)
		}
		if read.n != 0 {
			t.Error("the body of a refused request was read")
		}
		time.Sleep(failureInterval - time.Millisecond)
		apitest.WantError(t, n.selfRevoke(k.Secret), http.StatusTooManyRequests, core.TooManyRequests)

		n.from(outside) // another address is not concerned
		if other := n.issue(t, ""); n.selfRevoke(other.Secret).Code != http.StatusOK {
			t.Error("another address is refused")
		}
		n.from(netip.MustParseAddr("192.0.2.7"))
		time.Sleep(time.Millisecond)
		for range 3 { // one attempt is back, and a success does not use it up
			if w := n.selfRevoke(n.issue(t, "").Secret); w.Code != http.StatusOK {
				t.Fatalf("after the time was up: %d %s", w.Code, w.Body)
			}
		}
		apitest.WantError(t, n.selfRevoke("guess"), http.StatusNotFound, core.KeyNotFound)
		apitest.WantError(t, n.selfRevoke("guess"), http.StatusTooManyRequests, core.TooManyRequests)
	})
}

func TestTheServersOwnTroubleDoesNotCountAsAFailure(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, "")
	n.store.SetDown(apitest.ErrDown())
	for range failureBurst + 5 {
		apitest.WantError(t, n.selfRevoke(k.Secret), http.StatusServiceUnavailable, core.Unavailable)
	}
	n.store.SetDown(nil)
	if w := n.selfRevoke(k.Secret); w.Code != http.StatusOK {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestAttack20_SimultaneousAttemptsStayWithinTheLimit(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	h := n.publicHandler()
	var mu sync.Mutex
	codes := map[int]int{}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			code := apitest.Post(h, selfRevokePath, `{"credential":"guess"}`).Code
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
		})
	}
	wg.Wait()
	if !maps.Equal(codes, map[int]int{404: failureBurst, 429: 100 - failureBurst}) {
		t.Errorf("got %v", codes)
	}
}

func TestTheLimiterCountsAddresses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first, second string
		same          bool
	}{
		"one IPv4 address":               {"192.0.2.1", "192.0.2.1", true},
		"two IPv4 addresses":             {"192.0.2.1", "192.0.2.2", false},
		"IPv4 in IPv6":                   {"192.0.2.1", "::ffff:192.0.2.1", true},
		"one /64":                        {"2001:db8::1", "2001:db8::ffff:0:0:2", true},
		"two /64":                        {"2001:db8::1", "2001:db8:0:1::1", false},
		"two zones":                      {"fe80::1%eth0", "fe80::2%eth1", true},
		"two that are not known":         {"", "", true},
		"one that is not known, and any": {"", "0.0.0.0", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := NewFailureLimiter()
				first, _ := netip.ParseAddr(tc.first)
				second, _ := netip.ParseAddr(tc.second)
				for i := range failureBurst {
					if _, ok := l.take(core.NetworkID{}, first); !ok {
						t.Fatalf("attempt %d is refused", i+1)
					}
				}
				if wait, ok := l.take(core.NetworkID{}, first); ok || wait != failureInterval {
					t.Errorf("one too many: %v, %v", wait, ok)
				}
				if _, ok := l.take(core.NetworkID{}, second); ok == tc.same {
					t.Errorf("the second address: %v", ok)
				}
				time.Sleep(failureInterval * failureBurst)
				for i := range failureBurst {
					if _, ok := l.take(core.NetworkID{}, first); !ok {
						t.Fatalf("attempt %d after the time was up is refused", i+1)
					}
				}
				l.giveBack(core.NetworkID{}, first)
				if _, ok := l.take(core.NetworkID{}, first); !ok {
					t.Error("an attempt that was given back is refused")
				}
				if _, ok := l.take(core.NetworkID{}, first); ok {
					t.Error("one was given back, and two are taken")
				}
			})
		})
	}
}

func TestFailuresInOneNetworkCostNoAttemptsInAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewFailureLimiter()
		addr := netip.MustParseAddr("192.0.2.1")
		for range failureBurst {
			l.take(core.NetworkID{1}, addr)
		}
		if _, ok := l.take(core.NetworkID{1}, addr); ok {
			t.Error("the network in which all attempts failed has more")
		}
		if _, ok := l.take(core.NetworkID{2}, addr); !ok {
			t.Error("the other network has none left")
		}
	})
}

func TestAFloodFromManyAddressesIsBoundedInMemory(t *testing.T) {
	t.Parallel()
	l := NewFailureLimiter()
	for i := range 200_000 {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if _, ok := l.take(core.NetworkID{}, addr); !ok {
			t.Fatalf("%s has not failed yet and is refused", addr)
		}
	}
	if n := l.memory.Len(); n > maxFailing {
		t.Errorf("%d addresses are counted", n)
	}
}

func TestOneAddressStaysLimitedAmongManyOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewFailureLimiter()
		bad := netip.MustParseAddr("192.0.2.1")
		for range failureBurst {
			l.take(core.NetworkID{}, bad)
		}
		for i := range 50_000 { // each fails once, so each has less against it
			l.take(core.NetworkID{}, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		}
		if _, ok := l.take(core.NetworkID{}, bad); ok {
			t.Error("the limiter forgot " + bad.String() + " after " + strconv.Itoa(failureBurst) + " failures")
		}
	})
}

// readCounter is a body that counts how often it is read.
type readCounter struct{ n int }

func (c *readCounter) Read([]byte) (int, error) {
	c.n++
	return 0, http.ErrBodyReadAfterClose
}

func (*readCounter) Close() error { return nil }
