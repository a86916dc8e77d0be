package redact

import (
	"testing"
)

// TestParametersAreRedactedInEverySpelling has the texts in which a URL may be logged. KEY is the credential.
func TestParametersAreRedactedInEverySpelling(t *testing.T) {
	t.Parallel()
	r := New(Names{Queries: []string{"api_key", "user[key]", "the key", "a=b", "%7A"}})
	for _, c := range []struct{ text, want string }{
		// A parameter among others, wherever it is.
		{"/?api_key=KEY", "/?api_key=REDACTED"},
		{"/orders?a=1&api_key=KEY&b", "/orders?a=1&api_key=REDACTED&b"},
		{"/?api_key=KEY&api_key=KEY", "/?api_key=REDACTED&api_key=REDACTED"},
		{"/?api_key=", "/?api_key=REDACTED"},
		{"/??api_key=KEY", "/??api_key=REDACTED"},
		{"api_key=KEY&a=1", "api_key=REDACTED&a=1"}, // a query alone
		{"a=1;api_key=KEY;b=2", "a=1;api_key=REDACTED"},
		{"/#api_key=KEY", "/#api_key=REDACTED"},
		{"/;api_key=KEY?a=1", "/;api_key=REDACTED"},

		// The value is what the gate takes, whatever it holds.
		{"/?api_key=K=E#Y;K?E/Y&a", "/?api_key=REDACTED&a"},
		{"/?api_key=K E\"Y&a", "/?api_key=REDACTED&a"},
		{"/?api_key=K%26E%253DY&a", "/?api_key=REDACTED&a"},

		// The name in any case and encoding.
		{"/?API%5fKEY=KEY", "/?API%5fKEY=REDACTED"},
		{"/?%61pi_ke%79=KEY", "/?%61pi_ke%79=REDACTED"},
		{"/?api%255Fkey=KEY", "/?api%255Fkey=REDACTED"},
		{"/?api_key+=KEY", "/?api_key+=REDACTED"},
		{"/?user[key]=KEY", "/?user[key]=REDACTED"},
		{"/?user%5Bkey%5D=KEY", "/?user%5Bkey%5D=REDACTED"},
		{"/?the+key=KEY&the%20key=KEY", "/?the+key=REDACTED&the%20key=REDACTED"},
		{"/?a%3Db=KEY", "/?a%3Db=REDACTED"},
		{"/?%257A=KEY", "/?%257A=REDACTED"},
		{"/?%zz&api_key=KEY", "/?%zz&api_key=REDACTED"},

		// A URL in a URL, encoded once and more often.
		{"/login?to=/a?api_key=KEY&b=1", "/login?to=/a?api_key=REDACTED&b=1"},
		{"/login?to=%2Fa%3Fapi_key%3DKEY%26b%3D1&c=2", "/login?to=%2Fa%3Fapi_key%3DREDACTED%26b%3D1&c=2"},
		{"/login?to=%252Fa%253Fapi_key%253DKEY%2526b", "/login?to=%252Fa%253Fapi_key%253DREDACTED%2526b"},
		{"/login?to=%2Fa%3Fapi_key%3DK%2526E%2526Y&c=2", "/login?to=%2Fa%3Fapi_key%3DREDACTED&c=2"},

		// Other texts.
		{"https://app.example.com/?api_key=KEY&a=1", "https://app.example.com/?api_key=REDACTED&a=1"},
		{`Get "http://10.0.0.1/?api_key=KEY": EOF`, `Get "http://10.0.0.1/?api_key=REDACTED`},

		// What is no credential stays as it is.
		{"", ""},
		{"/?a=1&b=%20", "/?a=1&b=%20"},
		{"/?my_api_key=a&api_key2=b&x-api_key=c&key=d", "/?my_api_key=a&api_key2=b&x-api_key=c&key=d"},
		{"/api_key/100%", "/api_key/100%"},
		{"/?api_key", "/?api_key"},
	} {
		if got := r.Text("uri", c.text); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
		}
		if got := r.Text("uri", c.want); got != c.want {
			t.Errorf("%s, redacted again: %s", c.want, got)
		}
	}
}

func TestCookiesAreRedactedInTheirHeaders(t *testing.T) {
	t.Parallel()
	r := New(Names{Cookies: []string{"key"}})
	for _, c := range []struct{ field, text, want string }{
		{"Cookie", "key=KEY", "key=REDACTED"},
		{"Cookie", "a=1; key=KEY; b=2", "a=1; key=REDACTED; b=2"},
		{"Cookie", "a=1;key=KEY;key=KEY", "a=1;key=REDACTED;key=REDACTED"},
		{"cookie", `key = "K&E Y"; b=2`, `key =REDACTED; b=2`},
		{"HTTP_COOKIE", "KEY=KEY; b=2", "KEY=REDACTED; b=2"},
		{"Set-Cookie", "key=KEY; Path=/; Secure", "key=REDACTED; Path=/; Secure"},
		{"Cookie", "monkey=a; keys=b", "monkey=a; keys=b"},
		{"uri", "/?key=a", "/?key=a"}, // a parameter, not a cookie
	} {
		if got := r.Text(c.field, c.text); got != c.want {
			t.Errorf("%s: %s\n got %s\nwant %s", c.field, c.text, got, c.want)
		}
	}
}

// TestParametersAreRedactedInCookies is about cookies that hold a URL, beside one that is a source.
func TestParametersAreRedactedInCookies(t *testing.T) {
	t.Parallel()
	r := New(Names{Queries: []string{"api_key"}, Cookies: []string{"key"}})
	for text, want := range map[string]string{
		"last=/a?api_key=KEY&b; key=KEY; c=d":     "last=/a?api_key=REDACTED; key=REDACTED; c=d",
		"last=%2Fa%3Fapi_key%3DKEY%26b=1; c=d":    "last=%2Fa%3Fapi_key%3DREDACTED; c=d",
		"last=%2Fa%3Fapi_key%3DK%253BEY; key=KEY": "last=%2Fa%3Fapi_key%3DREDACTED; key=REDACTED",
	} {
		if got := r.Text("Cookie", text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestHeadersAreRedactedInEverySpelling(t *testing.T) {
	t.Parallel()
	r := New(Names{Headers: []string{"X-Api-Key", "Authorization"}})
	for field, redacted := range map[string]bool{
		"X-Api-Key": true, "x-api-key": true, "X_Api_Key": true, "X.api-key": true, "HTTP_X_API_KEY": true,
		"Authorization": true, "HTTP_AUTHORIZATION": true,
		"X-Api-Keys": false, "Api-Key": false, "XApiKey": false, "Proxy-Authorization": false, "uri": false, "": false,
	} {
		if got := r.Text(field, "a b"); (got == "REDACTED") != redacted {
			t.Errorf("%s: %s", field, got)
		}
	}
}
