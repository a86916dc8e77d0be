package node

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"

	"github.com/go-jose/go-jose/v4"

	"strings"
	"testing"
	"time"
)

func TestNodeIsSharedByEqualSettingsOnly(t *testing.T) {
	t.Parallel()
	someKeys, otherKeys := signingKeySetOfTwo(t), signingKeySetOfTwo(t)
	base := func() *App {
		return &App{Storage: "sqlite:///a.db", KeyOptions: KeyOptions{
			HMACSecret: strings.Repeat("a", 32), KeyPrefix: "acme", Issuer: "https://a.example", SigningKeys: someKeys,
		}}
	}
	key := func(a *App) string {
		var err error
		if a.settings, err = a.resolve(); err != nil {
			t.Fatal(err)
		}
		s, err := a.seal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.key
	}
	first := key(base())
	if key(base()) != first {
		t.Fatal("equal settings have different keys")
	}
	seen := map[string]string{first: "the first"}
	ten, five := Duration(10*time.Second), int64(5)
	for name, change := range map[string]func(*App){
		"storage":          func(a *App) { a.Storage = "sqlite:///b.db" },
		"secret":           func(a *App) { a.HMACSecret = strings.Repeat("b", 32) },
		"retired secret":   func(a *App) { a.RetiredHMACSecrets = []string{strings.Repeat("b", 32)} },
		"issuer":           func(a *App) { a.Issuer = "https://b.example" },
		"prefix":           func(a *App) { a.KeyPrefix = "beta" },
		"retired prefix":   func(a *App) { a.RetiredKeyPrefixes = []string{"beta"} },
		"public prefix":    func(a *App) { a.PublicPrefix = "beta" },
		"retired public":   func(a *App) { a.PublicPrefix = "pub"; a.RetiredPublicPrefixes = []string{"beta"} },
		"retired issuer":   func(a *App) { a.RetiredIssuers = []string{"https://b.example"} },
		"macaroon prefix":  func(a *App) { a.MacaroonPrefix = "beta" },
		"retired macaroon": func(a *App) { a.RetiredMacaroonPrefixes = []string{"beta"} },
		"signing keys":     func(a *App) { a.SigningKeys = otherKeys },
		"active kid":       func(a *App) { a.ActiveKid = "b" },
		"clock skew":       func(a *App) { a.ClockSkew = &ten },
		"no clock skew":    func(a *App) { a.ClockSkew = new(Duration) },
		"key quota":        func(a *App) { a.KeyQuota = &five },
		"rate limit":       func(a *App) { a.RateLimit = rateLimitOff },
		"default ttl":      func(a *App) { a.DefaultTTL = &ten },
		"redis":            func(a *App) { a.RateLimit = "redis://a" },
		"another redis":    func(a *App) { a.RateLimit = "redis://b" },
		"max ttl":          func(a *App) { a.MaxTTL = ten },
		"cache ttl":        func(a *App) { a.Cache = &Cache{TTL: ten} },
		"cache connected":  func(a *App) { a.Cache = &Cache{TTLConnected: ten * 60} },
		"cache negative":   func(a *App) { a.Cache = &Cache{NegativeTTL: &ten} },
		"cache stale":      func(a *App) { a.Cache = &Cache{StaleIfError: &ten} },
		"cache size":       func(a *App) { a.Cache = &Cache{MaxSize: 5 << 20} },
		"cache off":        func(a *App) { a.Cache = &Cache{Off: true} },
		"webhook":          func(a *App) { a.Webhooks = someWebhooks() },
		"webhook types": func(a *App) {
			a.Webhooks = someWebhooks()
			a.Webhooks[0].Types = []string{"key.expiring"}
		},
		"webhook secret": func(a *App) {
			a.Webhooks = someWebhooks()
			a.Webhooks[0].Secret = "whsec_" + strings.Repeat("b", 40)
		},
		"webhook private": func(a *App) { a.Webhooks = someWebhooks(); a.Webhooks[0].AllowPrivate = true },
		"webhook URL":     func(a *App) { a.Webhooks = someWebhooks(); a.Webhooks[0].URL = "https://b.example" },
		"networks":        func(a *App) { a.Networks = someNetworks() },
		"network host": func(a *App) {
			a.Networks = someNetworks()
			a.Networks[1].Hosts = []string{"c.example"}
		},
		"network id": func(a *App) {
			a.Networks = someNetworks()
			a.Networks[1].ID = "550e8400-e29b-41d4-a716-446655440003"
		},
		"network prefix": func(a *App) { a.Networks = someNetworks(); a.Networks[1].KeyPrefix = "beta" },
		"network secret": func(a *App) {
			a.Networks = someNetworks()
			a.Networks[1].HMACSecret = strings.Repeat("c", 32)
		},
		"network issuer":   func(a *App) { a.Networks = someNetworks(); a.Networks[1].Issuer = "https://b.example" },
		"network keys":     func(a *App) { a.Networks = someNetworks(); a.Networks[1].SigningKeys = otherKeys },
		"network ttl":      func(a *App) { a.Networks = someNetworks(); a.Networks[1].DefaultTTL = &ten },
		"network quota":    func(a *App) { a.Networks = someNetworks(); a.Networks[1].KeyQuota = &five },
		"cache stale zero": func(a *App) { a.Cache = &Cache{StaleIfError: new(Duration)} },
	} {
		a := base()
		change(a)
		k := key(a)
		if other, found := seen[k]; found {
			t.Errorf("%s and %s share a node", name, other)
		}
		seen[k] = name
		if strings.Contains(k, a.HMACSecret) {
			t.Error("the key holds the secret")
		}
	}
}

func someNetworks() []Network {
	return []Network{
		{Hosts: []string{"a.example"}, ID: "550e8400-e29b-41d4-a716-446655440001"},
		{Hosts: []string{"b.example"}, ID: "550e8400-e29b-41d4-a716-446655440002"},
	}
}

func someWebhooks() []Webhook {
	return []Webhook{{URL: "https://a.example", Secret: "whsec_" + strings.Repeat("a", 40)}}
}

func TestPlaceholderThatIsEmptyIsNotAMissingSecret(t *testing.T) {
	t.Setenv("TALOS_TEST_EMPTY", "")
	for _, a := range []*App{
		{KeyOptions: KeyOptions{HMACSecret: "{env.TALOS_TEST_EMPTY}"}},
		{KeyOptions: KeyOptions{
			HMACSecret: strings.Repeat("a", 32), RetiredHMACSecrets: []string{"{env.TALOS_TEST_EMPTY}"},
		}},
		{Storage: "{env.TALOS_TEST_EMPTY}"},
		{KeyOptions: KeyOptions{HMACSecret: "{http.request.host}"}},
		{KeyOptions: KeyOptions{HMACSecret: strings.Repeat("a", 32), RetiredHMACSecrets: []string{""}}},
		{KeyOptions: KeyOptions{SigningKeys: "{env.TALOS_TEST_EMPTY}"}},
		{KeyOptions: KeyOptions{SigningKeys: "keys.json", ActiveKid: "{env.TALOS_TEST_EMPTY}"}},
		{KeyOptions: KeyOptions{RetiredIssuers: []string{"{env.TALOS_TEST_EMPTY}"}}},
		{RateLimit: "{env.TALOS_TEST_EMPTY}"},
	} {
		if err := a.expand(); err == nil {
			t.Errorf("%+v: no error", []string{a.HMACSecret, a.Storage})
		}
	}
}

func TestUnsafeJSONIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"retired secrets alone":    `{"retired_hmac_secrets":["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]}`,
		"short secret":             `{"hmac_secret":"aaaa"}`,
		"retired prefixes alone":   `{"retired_public_prefixes":["pub"]}`,
		"cache off with a ttl":     `{"cache":{"off":true,"ttl":"60s"}}`,
		"stale_if_error below 1s":  `{"cache":{"negative_ttl":"1ms"}}`,
		"no such database":         `{"storage":"mysql://x"}`,
		"options in the DSN":       `{"storage":"sqlite:///a.db?mode=ro"}`,
		"issuer that is no URI":    `{"issuer":"here"}`,
		"default beyond max":       `{"default_ttl":"2h","max_ttl":"1h"}`,
		"connected shorter":        `{"cache":{"ttl":"60s","ttl_connected":"59s"}}`,
		"kid without keys":         `{"active_kid":"a"}`,
		"signing keys of no form":  `{"signing_keys":"base64://aaaaaaaa"}`,
		"negative quota":           `{"key_quota":-1}`,
		"redis, no password":       `{"rate_limit":"redis://aaaa@localhost"}`,
		"redis, unknown option":    `{"rate_limit":"redis://:aaaa@localhost?pool=5"}`,
		"redis, several addresses": `{"rate_limit":"redis://:aaaa@localhost,localhost:1"}`,
		"a retired issuer is none": `{"retired_issuers":["here"]}`,
		"much skew":                `{"clock_skew":"61m"}`,
		"shadowed prefix":          `{"key_prefix":"mc_v1_acme"}`,
		"shadowed by a retired":    `{"key_prefix":"m_v1_acme","retired_macaroon_prefixes":["m"]}`,
		"cache of a few bytes":     `{"cache":{"max_size":100}}`,
		"null webhook":             `{"webhooks":[null]}`,
		"webhook without a secret": `{"webhooks":[{"url":"https://a.example"}]}`,
		"webhook, short secret":    `{"webhooks":[{"url":"https://a.example","secret":"whsec_aaaaaaaa"}]}`,
		"webhook without TLS": `{"webhooks":[{"url":"http://a.example","secret":"whsec_` +
			strings.Repeat("a", 40) + `"}]}`,
		"webhook of a sidecar":     `{"upstream":{"addresses":["https://a.example"]},"webhooks":[{}]}`,
		"cache of a negative size": `{"cache":{"max_size":-1}}`,
	} {
		a := new(App)
		if err := json.Unmarshal([]byte(text), a); err != nil {
			t.Fatal(name, err)
		}
		if _, err := a.resolve(); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "aaaa") {
			t.Errorf("%s: the error holds the secret: %v", name, err)
		}
	}
	for _, text := range []string{`{"max_ttl":60}`, `{"max_ttl":"a while"}`, `{"max_ttl":"-5s"}`} {
		if err := json.Unmarshal([]byte(text), new(App)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func TestDurationsReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, time.Millisecond, time.Second, 90 * time.Minute, 8760 * time.Hour} {
		text, err := json.Marshal(Duration(d))
		if err != nil {
			t.Fatal(err)
		}
		var back Duration
		if err := json.Unmarshal(text, &back); err != nil || time.Duration(back) != d {
			t.Errorf("%s became %s (%v)", d, time.Duration(back), err)
		}
	}
}

// signingKeySetOfTwo is a new set with the keys a and b, as an option.
func signingKeySetOfTwo(t *testing.T) string {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, kid := range []string{"a", "b"} {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: private, KeyID: kid})
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return "base64://" + base64.StdEncoding.EncodeToString(text)
}
