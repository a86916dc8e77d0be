package upstream

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strings"
	"sync"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// moreFaults are further ways for an upstream to misbehave: the second half of the cases of
// TestAttack06And23_AFailureSaysNothingAboutACredential.
func moreFaults() map[string]faultCase {
	faults := map[string]faultCase{}
	for text, result := range map[string]Result{
		"402 Payment Required": ResultMisconfigured, "406 Not Acceptable": ResultMisconfigured,
		"407 Proxy Authentication Required": ResultMisconfigured, "408 Request Timeout": ResultFailed,
		"410 Gone": ResultMisconfigured, "415 Unsupported Media Type": ResultMisconfigured,
		"425 Too Early":                     ResultFailed,
		"451 Unavailable For Legal Reasons": ResultMisconfigured, "501 Not Implemented": ResultFailed,
		"504 Gateway Timeout": ResultFailed, "507 Insufficient Storage": ResultFailed, "599 ": ResultFailed,
		"300 Multiple Choices": ResultMisconfigured, "304 Not Modified": ResultMisconfigured,
	} {
		faults[text] = faultCase{wireText("HTTP/1.1 " + text + "\r\nContent-Length: 0\r\n\r\n"), result}
	}
	for _, status := range []int{301, 302, 303, 308} { // to an address that would say yes
		faults["a redirect, "+http.StatusText(status)] = faultCase{
			saying(status, "text/plain", "", "Location", "http://127.0.0.1:1/v2alpha1/admin/apiKeys:batchVerify"),
			ResultMisconfigured,
		}
	}
	const good = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for name, text := range map[string]string{
		"a status that is no number":        "HTTP/1.1 OK\r\n\r\n",
		"a status of four digits":           "HTTP/1.1 2000 OK\r\n\r\n",
		"a header that is none":             good + "is_valid true\r\n\r\n",
		"two lengths":                       good + "Content-Length: 2\r\nContent-Length: 20\r\n\r\n{\"results\":[{}]}",
		"a length that is none":             good + "Content-Length: two\r\n\r\n{}",
		"a chunk of no size":                good + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
		"chunks that end early":             good + "Transfer-Encoding: chunked\r\n\r\nff\r\n{\"results\":",
		"another transfer encoding":         good + "Transfer-Encoding: gzip\r\n\r\n{}",
		"headers that end early":            good + "Content-Le",
		"a header of two mebibytes":         good + "X: " + strings.Repeat("x", 2<<20) + "\r\n\r\n",
		"the preface of HTTP/2":             "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"an alert of TLS":                   "\x15\x03\x01\x00\x02\x02\x46",
		"only answers that are provisional": strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10),
		"another protocol that was not asked for": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" +
			"Connection: Upgrade\r\n\r\n",
	} {
		result := ResultUnreachable
		if strings.HasPrefix(text, "HTTP/1.1 101") {
			result = ResultGarbage
		}
		faults[name] = faultCase{wireText(text), result}
	}
	for name, text := range map[string]string{
		"JSON and something behind it": `{"results":[]}x`,
		"two documents":                `{"results":[]}{"results":[]}`,
		"a byte order mark":            "\ufeff" + `{"results":[]}`,
		"brackets without end":         strings.Repeat("[", 100_000),
		"NaN":                          `{"results":[{"is_valid":NaN}]}`,
		"results that are an object":   `{"results":{"0":{"is_valid":true},"1":{"is_valid":true}}}`,
		"results that are null at all": `{"results":null}`,
		"results under another name":   `{"Result":[{"is_valid":true}]}`,
	} {
		faults[name] = faultCase{saying(200, jsonType, text), ResultGarbage}
	}
	faults["a bomb of gzip"] = faultCase{saying(200, jsonType, bomb(), "Content-Encoding", "gzip"), ResultGarbage}
	faults["gzip that is none"] = faultCase{
		saying(200, jsonType, `{"results":[]}`, "Content-Encoding", "gzip"), ResultGarbage,
	}
	for name, change := range map[string]func(map[string]any){
		"valid as text":                   set("is_valid", "true"),
		"valid as a number":               set("is_valid", 1),
		"valid as null":                   set("is_valid", nil),
		"valid with an error":             set("error_code", "VERIFICATION_ERROR_INTERNAL"),
		"valid of an unknown status":      set("status", "KEY_STATUS_MOON"),
		"valid of no status":              set("status", ""),
		"valid of an unknown visibility":  set("visibility", "KEY_VISIBILITY_MOON"),
		"valid with an id of a path":      set("key_id", "../../x"),
		"valid with an id with a newline": set("key_id", "x\r\nX-Talos-Actor: root"),
		"valid with an id that is long":   set("key_id", strings.Repeat("a", core.MaxKeyIDLength+1)),
		"valid with a number for an id":   set("key_id", 7),
		"valid with scopes of numbers":    set("scopes", []int{1}),
		"valid with a scope that is none": set("scopes", []string{"a b,c"}),
		"valid with metadata of text":     set("metadata", "plan"),
		"valid until nonsense":            set("expire_time", "tomorrow"),
		"valid with a huge result":        set("metadata", map[string]any{"x": strings.Repeat("x", maxResult)}),
	} {
		faults[name] = faultCase{spoiled(change), ResultOK}
	}
	return faults
}

func set(name string, value any) func(map[string]any) {
	return func(result map[string]any) { result[name] = value }
}

// wireText answers with bytes and closes the connection.
func wireText(text string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		conn, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return true
		}
		_, _ = b.WriteString(text)
		_ = b.Flush()
		_ = conn.Close()
		return true
	}
}

// spoiled answers that each key is good, with a field that is not.
func spoiled(change func(map[string]any)) fault {
	return func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		var in client.BatchVerifyRequest
		if !strings.HasSuffix(r.URL.Path, ":batchVerify") || json.Unmarshal(body, &in) != nil {
			return false
		}
		format, err := credential.NewFormat(core.NetworkID{}, testKeyring, credential.Prefixes{})
		if err != nil {
			return false
		}
		results := make([]map[string]any, len(in.Requests))
		for i, item := range in.Requests {
			results[i] = good(format.Parse(item.Credential).KeyID)
			change(results[i])
		}
		w.Header().Set("Content-Type", jsonType)
		_ = json.NewEncoder(w).Encode(map[string]any{"results": results})
		return true
	}
}

// bomb is an answer of a hundred mebibytes of spaces, packed.
var bomb = sync.OnceValue(func() string {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	spaces := []byte(strings.Repeat(" ", 1<<20))
	for range 100 {
		_, _ = z.Write(spaces)
	}
	_ = z.Close()
	return packed.String()
})
