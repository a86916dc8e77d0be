package adminapi

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/ratelimit"
)

func limiter(t *testing.T) ratelimit.Limiter {
	t.Helper()
	m, err := ratelimit.NewMemory(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

const twiceAMinute = `,"rate_limit_policy":{"quota":"2","window":"1m","unit":"requests"}`

func wantLimit(t *testing.T, w *httptest.ResponseRecorder, limit, retry string) client.VerifyResponse {
	t.Helper()
	h := w.Header()
	if w.Code != http.StatusOK || h.Get("RateLimit-Policy") != `"default";q=2;w=60` || h.Get("RateLimit") != limit ||
		h.Get("Retry-After") != retry {
		t.Fatalf("got %d %v", w.Code, h)
	}
	return apitest.Unmarshal[client.VerifyResponse](t, w.Body.Bytes())
}

func TestAttack01_ALimitIsCountedOnEveryVerificationCachedOrNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01T00:00:00Z
		n := newNodeWith(t, setup{limiter: limiter(t)})
		k := n.issue(t, twiceAMinute)
		ask := `{"credential":"` + k.Secret + `"}`
		v := wantLimit(t, apitest.Post(n.admin, anyPath+":verify", ask), `"default";r=1`, "")
		if !v.IsValid || *v.RateLimitRemaining != 1 ||
			v.RateLimitResetTime.Unix() != time.Now().Add(30*time.Second).Unix() ||
			v.RateLimitPolicy.Quota != 2 || v.RateLimitPolicy.Window != "60s" || v.RateLimitPolicy.Unit != "requests" {
			t.Errorf("got %+v", v)
		}
		w := apitest.Post(n.admin, anyPath+":batchVerify", `{"requests":[`+ask+`,`+ask+`,{"credential":"x"}]}`)
		results := apitest.Unmarshal[client.BatchVerifyResponse](t, w.Body.Bytes()).Results
		if !results[0].IsValid || *results[0].RateLimitRemaining != 0 || results[1].IsValid ||
			results[1].ErrorCode != client.VerificationErrorRateLimited || results[1].KeyID != k.IssuedAPIKey.KeyID {
			t.Errorf("got %s", w.Body)
		}
		v = wantLimit(t, apitest.Post(n.admin, anyPath+":verify", ask), `"default";r=0`, "30")
		if v.IsValid || v.ErrorCode != client.VerificationErrorRateLimited ||
			*v.RateLimitRemaining != 0 || v.ActorID != "a" {
			t.Errorf("got %+v", v)
		}
		time.Sleep(29*time.Second + 500*time.Millisecond)
		wantLimit(t, apitest.Post(n.admin, anyPath+":verify", ask), `"default";r=0`, "1")
		time.Sleep(500 * time.Millisecond)
		if v := wantLimit(t, apitest.Post(n.admin, anyPath+":verify", ask), `"default";r=0`, ""); !v.IsValid {
			t.Errorf("got %+v", v)
		}
	})
}

func TestOnlyAnOtherwiseValidUseIsCounted(t *testing.T) {
	t.Parallel()
	n := newNodeWith(t, setup{limiter: limiter(t)})
	k := n.issue(t, twiceAMinute+`,"ip_restriction":{"allowed_cidrs":["192.0.2.7"]}`)
	inside := n.addr
	n.from(outside)
	for range 3 {
		v := n.verify(t, k.Secret)
		if v.ErrorCode != client.VerificationErrorIPNotAllowed ||
			v.RateLimitRemaining != nil || v.RateLimitPolicy == nil {
			t.Errorf("got %+v", v)
		}
	}
	n.from(inside)
	if v := n.verify(t, k.Secret); !v.IsValid || *v.RateLimitRemaining != 1 {
		t.Errorf("got %+v", v)
	}
	if w := apitest.Post(n.admin, anyPath+":verify", `{"credential":"x"}`); w.Header().Get("RateLimit-Policy") != "" {
		t.Errorf("an unknown key has a limit: %v", w.Header())
	}
	w := apitest.Post(n.admin, anyPath+":verify", `{"credential":"`+n.issue(t, "").Secret+`"}`)
	if w.Header().Get("RateLimit-Policy") != "" {
		t.Errorf("a key without a limit has one: %v", w.Header())
	}
}

func TestWithoutALimiterALimitIsShownAndNotEnforced(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	k := n.issue(t, twiceAMinute)
	for range 3 {
		v := wantLimit(t, apitest.Post(n.admin, anyPath+":verify", `{"credential":"`+k.Secret+`"}`), "", "")
		if !v.IsValid || v.RateLimitPolicy == nil || v.RateLimitRemaining != nil || !v.RateLimitResetTime.IsZero() {
			t.Errorf("got %+v", v)
		}
	}
}

func TestAnEdgeIsToldOfALimitAndNotCounted(t *testing.T) {
	t.Parallel()
	n := newNodeWith(t, setup{limiter: limiter(t)})
	k := n.issue(t, twiceAMinute)
	for range 3 {
		v := wantLimit(t, apitest.AsEdge(n.admin, anyPath+":verify", `{"credential":"`+k.Secret+`"}`), "", "")
		if !v.IsValid || v.RateLimitPolicy == nil || v.RateLimitRemaining != nil {
			t.Errorf("got %+v", v)
		}
	}
	if v := n.verify(t, k.Secret); *v.RateLimitRemaining != 1 {
		t.Errorf("an edge was counted: %+v", v)
	}
}

// brokenLimiter has lost its counts.
type brokenLimiter struct{}

func (brokenLimiter) Take(
	context.Context, core.NetworkID, string, core.RateLimitPolicy,
) (ratelimit.Result, error) {
	return ratelimit.Result{}, errors.New("the counters are away")
}

func (brokenLimiter) Close() error { return nil }

func TestACounterThatIsAwayLetsTheUseThroughAndIsLogged(t *testing.T) {
	t.Parallel()
	n := newNodeWith(t, setup{limiter: brokenLimiter{}})
	k := n.issue(t, twiceAMinute)
	v := wantLimit(t, apitest.Post(n.admin, anyPath+":verify", `{"credential":"`+k.Secret+`"}`), "", "")
	if !v.IsValid || v.RateLimitRemaining != nil {
		t.Errorf("got %+v", v)
	}
	if logs := n.logs.String(); !strings.Contains(logs, "the counters are away") || strings.Contains(logs, k.Secret) {
		t.Errorf("the log says %s", logs)
	}
}

func TestAQuotaIsAnyNumberOf64BitsAndAHeaderAsMuchAsItCanHold(t *testing.T) {
	t.Parallel()
	n := newNodeWith(t, setup{limiter: limiter(t)})
	for quota, written := range map[string]string{
		"9223372036854775807": "999999999999999", "1000000000000000": "999999999999999",
		"999999999999999": "999999999999999", "2147483648": "2147483648",
	} {
		for _, form := range []string{quota, `"` + quota + `"`} {
			k := n.issue(t, `,"rate_limit_policy":{"quota":`+form+`,"window":"60s"}`)
			if got := k.IssuedAPIKey.RateLimitPolicy; got == nil || strconv.FormatInt(int64(got.Quota), 10) != quota {
				t.Errorf("%s: the record has %+v", form, got)
			}
			w := apitest.Post(n.admin, anyPath+":verify", `{"credential":"`+k.Secret+`"}`)
			if got := w.Header().Get("RateLimit-Policy"); got != `"default";q=`+written+`;w=60` || w.Code != 200 {
				t.Errorf("%s: got %d %s", form, w.Code, got)
			}
		}
	}
	for _, form := range []string{"-1", "9223372036854775808", `"9223372036854775808"`, "1.5"} {
		body := `{"name":"n","actor_id":"a","rate_limit_policy":{"quota":` + form + `,"window":"60s"}}`
		apitest.WantError(t, apitest.Post(n.admin, issuedPath, body), http.StatusBadRequest, core.BadRequest)
	}
}
