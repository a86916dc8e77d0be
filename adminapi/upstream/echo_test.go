package upstream

import (
	"strconv"
	"strings"
	"testing"

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

// noneRepeated makes the calls of an upstream that repeats a credential and looks into what comes of them.
func noneRepeated(t *testing.T, s *standIn, cred string) {
	t.Helper()
	u, logs := open(t, nil, serve(t, s, "").URL)
	_, err := lookUp(t.Context(), u, core.NetworkID{}, cred)
	if core.ReasonOf(err) != core.Unavailable {
		t.Errorf("the look-up: got %v", err)
	}
	_, keySet := u.JWKS(t.Context())
	noSecret(t, logs, []error{err, keySet, u.Ready(t.Context())}, cred)
	if logs.Len() == 0 && len(s.calls(client.BatchVerifyPath)) == 0 {
		t.Error("nobody was asked")
	}
}
