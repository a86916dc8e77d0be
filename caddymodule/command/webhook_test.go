package command

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

const testHookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// hookServer is a receiver that answers with a status, and counts what is signed.
func hookServer(t *testing.T, status int) (url string, signed *atomic.Int32) {
	t.Helper()
	signed = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,") {
			signed.Add(1)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/hook?token=of-the-url", signed
}

func TestWebhookTestSendsOneMessageToAURL(t *testing.T) {
	t.Parallel()
	url, signed := hookServer(t, http.StatusNoContent)
	out, _, err := runTree(t.Context(), testHookSecret+"\n", "webhook", "test", url, "--secret", "-")
	if err != nil || !strings.Contains(out, ": accepted: 204 No Content (") || signed.Load() != 1 {
		t.Errorf("%s, %v, %d messages", out, err, signed.Load())
	}
	if strings.Contains(out, "of-the-url") {
		t.Errorf("the URL is printed: %s", out)
	}
}

func TestWebhookTestFailsWhenAReceiverRefuses(t *testing.T) {
	t.Parallel()
	url, _ := hookServer(t, http.StatusUnauthorized)
	out, _, err := runTree(t.Context(), "", "webhook", "test", url, "--secret", testHookSecret)
	if err == nil || !strings.Contains(out, ": the receiver answered 401 Unauthorized (") {
		t.Errorf("%s, %v", out, err)
	}
}

func TestWebhookTestTriesThoseOfAConfiguration(t *testing.T) {
	t.Parallel()
	dir, env := home(t)
	good, signed := hookServer(t, http.StatusOK)
	bad, _ := hookServer(t, http.StatusInternalServerError)
	file := filepath.Join(dir, "Caddyfile")
	text := "{\n\ttalos {\n\t\twebhook " + good + " {\n\t\t\tsecret {env.HOOK_SECRET}\n\t\t}\n\t\twebhook " + bad +
		" {\n\t\t\tsecret {env.HOOK_SECRET}\n\t\t}\n\t}\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env = append(env, "HOOK_SECRET="+testHookSecret)
	out, exit := runBinary(t, env, "webhook", "test", "--config", file)
	if exit != 1 || !strings.Contains(out, "accepted: 200 OK") || !strings.Contains(out, "answered 500") {
		t.Errorf("exit status %d\n%s", exit, out)
	}
	out, exit = runBinary(t, env, "webhook", "test", "--config", file, "--url", good)
	if exit != 0 || strings.Count(out, "\n") != 1 || signed.Load() != 2 {
		t.Errorf("exit status %d, %d messages\n%s", exit, signed.Load(), out)
	}
	// There is no such one.
	out, exit = runBinary(t, env, "webhook", "test", "--config", file, "--url", good+"x")
	if exit != 1 || out != "" {
		t.Errorf("exit status %d\n%s", exit, out)
	}
}

func TestWebhookTestSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	const url = "https://hooks.example.com"
	for args, want := range map[string]string{
		"":                                   "a URL with --secret, or --config must be given",
		url:                                  "--secret is required with a URL",
		url + " --secret whsec_short":        "must be whsec_",
		url + " --config F --secret x":       "a URL is tried without a configuration",
		"--secret x --config F":              "--secret and --allow-private are for a URL",
		url + " " + url:                      "one URL may be given",
		"ftp://x --secret " + testHookSecret: "must be a URL",
		"https://10.0.0.1 --secret " + testHookSecret: "is a private address",
	} {
		_, _, err := runTree(t.Context(), "", append([]string{"webhook", "test"}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
