package webhook_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/adminapi/webhook"
)

func TestConfig_RefusesWhatCannotBeDeliveredTo(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                                       "must be a URL",
		"hooks.example.com":                      "must be a URL",
		"ftp://hooks.example.com/":               "must be a URL",
		"https://":                               "must be a URL",
		"https://a\x00b/":                        "must be a URL",
		"https://:443/":                          "must be a URL",
		"https://a.example:0/":                   "port must be",
		"https://a.example:65536/":               "port must be",
		"https://a/" + strings.Repeat("x", 2048): "must be a URL",
		"https://user:pass@a.example/":           "holds a user or a password",
		"https://a.example/#part":                "has a fragment",
		"http://hooks.example.com/":              "is not encrypted",
		"http://10.0.0.1/":                       "is not encrypted",
		"https://10.0.0.1/":                      "is a private address: allow_private",
		"https://[::ffff:10.0.0.1]/":             "is a private address: allow_private",
		"https://[fd12::1]/":                     "is a private address: allow_private",
		"https://169.254.169.254/":               "no webhook is delivered to",
	} {
		c := webhook.Config{URL: url, Secret: secret}
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "user:pass") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
	for _, url := range []string{
		hookURL, "http://127.0.0.1:9000/", "http://[::1]/", "http://localhost/x", "https://192.0.2.1/",
	} {
		c := webhook.Config{URL: url, Secret: secret}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestConfig_AURLIsOneReaderInWhateverWayItIsWritten(t *testing.T) {
	t.Parallel()
	a, b := webhook.Config{URL: "https://a.example/x"}, webhook.Config{URL: "HTTPS://a.example/x"}
	other := webhook.Config{URL: "https://a.example/y"}
	if a.Reader() != b.Reader() {
		t.Errorf("%s and %s are two", a.Reader(), b.Reader())
	}
	if a.Reader() == other.Reader() {
		t.Error("another path is the same")
	}
}

func TestConfig_ASecretHas24To64Bytes(t *testing.T) {
	t.Parallel()
	of := func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(slices.Repeat([]byte{'s'}, n)) }
	for text, good := range map[string]bool{
		of(23): false, of(24): true, of(64): true, of(65): false, "": false, "whsec_": false,
		strings.TrimPrefix(of(32), "whsec_"): false, "whsec_not-base64-not-base64-not-base64-xx": false,
	} {
		c := webhook.Config{URL: hookURL, Secret: text}
		err := c.Validate()
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && len(text) > 6 && strings.Contains(err.Error(), text[6:]) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func TestConfig_KnowsTheTypes(t *testing.T) {
	t.Parallel()
	for _, types := range [][]string{nil, webhook.Types(), {"IssuedAPIKeyRevoked", webhook.TypeExpiring}} {
		c := webhook.Config{URL: hookURL, Secret: secret, Types: types}
		if err := c.Validate(); err != nil {
			t.Errorf("%v: %v", types, err)
		}
	}
	for _, types := range [][]string{{"unknown"}, {webhook.TypeTest}, {webhook.TypeExpiring, webhook.TypeExpiring}} {
		c := webhook.Config{URL: hookURL, Secret: secret, Types: types}
		if err := c.Validate(); err == nil {
			t.Errorf("%v is taken", types)
		}
	}
}

func TestNew_RefusesBadSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]webhook.Config{
		"no store":  {URL: hookURL, Secret: secret},
		"no URL":    {Secret: secret, Store: apitest.NewStore()},
		"no secret": {URL: hookURL, Store: apitest.NewStore()},
	} {
		if _, err := webhook.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
