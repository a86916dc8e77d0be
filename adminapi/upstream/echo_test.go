package upstream

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest/observer"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// An upstream, or a proxy before it, may repeat in its answer what it was asked: none of that is in an error or a log.
func TestWhatARefusalRepeatsIsInNoErrorAndNoLog(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{
		"in the message":                 `{"error":{"message":"no such key: CRED","status":"X"}}`,
		"in the message beside a reason": `{"error":{"message":"CRED","details":[{"reason":"SOME_REASON"}]}}`,
		"as the reason":                  `{"error":{"message":"x","details":[{"reason":"CRED"}]}}`,
		"as the status":                  `{"error":{"message":"x","status":"CRED"}}`,
		"in the text":                    `cannot understand CRED`,
	}
	for _, status := range []int{302, 400, 401, 403, 404, 413, 429, 500, 503} {
		for where, body := range bodies {
			t.Run(strconv.Itoa(status)+" "+where, func(t *testing.T) {
				t.Parallel()
				cred, _ := mint(t)
				s := newStandIn()
				s.fault = saying(status, jsonType, strings.ReplaceAll(body, "CRED", cred))
				noneRepeated(t, s, cred)
			})
		}
	}
}

// net/http repeats in its errors what it cannot read.
func TestWhatABrokenAnswerRepeatsIsInNoErrorAndNoLog(t *testing.T) {
	t.Parallel()
	const good = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for where, text := range map[string]string{
		"for a status line":        "CRED\r\n\r\n",
		"for a protocol":           "CRED 200 OK\r\n\r\n",
		"for a status":             "HTTP/1.1 CRED OK\r\n\r\n",
		"for a header":             good + "CRED\r\n\r\n",
		"for a length":             good + "Content-Length: CRED\r\n\r\n",
		"for a transfer encoding":  good + "Transfer-Encoding: CRED\r\n\r\n",
		"for the place to go to":   "HTTP/1.1 302 Found\r\nLocation: http://%CRED\r\nContent-Length: 0\r\n\r\n",
		"for the size of a chunk":  good + "Transfer-Encoding: chunked\r\n\r\nCRED\r\n{}\r\n0\r\n\r\n",
		"for a type":               "HTTP/1.1 200 OK\r\nContent-Type: CRED\r\nContent-Length: 2\r\n\r\n{}",
		"for the results":          good + "Content-Length: 1000\r\n\r\n{\"results\":\"CRED\"}",
		"for the name of a result": good + "Connection: close\r\n\r\n{\"results\":[{\"CRED\":1}]}",
		"for a first header":       "HTTP/1.1 200 OK\r\n CRED\r\n\r\n",
		"for a trailer":            good + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nCRED\r\n\r\n",
	} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			cred, _ := mint(t)
			s := newStandIn()
			s.fault = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				hijack(w, strings.ReplaceAll(text, "CRED", cred))
				return true
			}
			u := noneRepeated(t, s, cred)
			_, revoked := u.SelfRevoke(t.Context(), core.NetworkID{}, cred, "")
			list := request(t, http.MethodGet, "http://caller.invalid/v2alpha1/admin/issuedApiKeys")
			resp, passed := u.RoundTrip(list)
			if passed == nil {
				_ = resp.Body.Close()
			}
			noSecret(t, new(observer.ObservedLogs), []error{revoked, passed}, cred)
		})
	}
}

// noneRepeated makes the calls of an upstream that repeats a credential and looks into what comes of them.
func noneRepeated(t *testing.T, s *standIn, cred string) *Remote {
	t.Helper()
	u, logs := open(t, nil, serve(t, s, "").URL)
	_, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
	if core.ReasonOf(err) != core.Unavailable {
		t.Errorf("the look-up: got %v", err)
	}
	_, keySet := u.JWKS(t.Context(), core.NetworkID{})
	noSecret(t, logs, []error{err, keySet, u.Ready(t.Context())}, cred)
	if logs.Len() == 0 && len(s.calls(client.BatchVerifyPath)) == 0 {
		t.Error("nobody was asked")
	}
	return u
}
