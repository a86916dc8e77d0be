package redis_test

import (
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/storage/redis"
)

func TestCheck_AcceptsTheFormsOfURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"redis://localhost",
		"redis://localhost:6380/15",
		"redis://:secret@10.0.0.1",
		"redis://us%3Aer:se%40cret@[::1]:6379/0?timeout=1ms",
		"redis://[::1]",
		"rediss://redis.internal?timeout=10s&tls_ca=/ca.pem&tls_cert=/c.pem&tls_key=/k.pem&tls_server_name=redis",
		"redis-sentinel://a,b:26380,[::1]/counts",
		"redis-sentinel://:secret@a:26379/counts?db=2&sentinel_user=u&sentinel_password=s%26&tls=on&tls_ca=/etc/ca.pem",
		"redis-cluster://a:7000,b:7000,c",
		"redis-cluster://user:secret@a?tls=on&timeout=50ms",
	} {
		if err := redis.Check(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// hunter2 is the password, or was meant to be a part of it.
func TestCheck_RefusesWhatItCannotFollowAndRepeatsNoPassword(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"hunter2":                                         "must begin with redis://",
		"http://:hunter2@a":                               "must begin with redis://",
		"redis://":                                        "host:port",
		"redis://:hunter2@":                               "host:port",
		"redis://:hunter2@a:0":                            "host:port",
		"redis://:hunter2@a:65536":                        "host:port",
		"redis://:hunter2@a:b":                            "host:port",
		"redis://:hunter2@a b":                            "host:port",
		"redis://:hunter2@1:2:3":                          "host:port",
		"redis://:/hunter2@a":                             "percent-encode",
		"redis://:#hunter2/@a":                            "percent-encode",
		"redis://:?hunter2@a":                             "percent-encode",
		"redis://a?hunter2-=1":                            "no option of that name",
		"redis://:%zzhunter2@a":                           "percent-encode",
		"redis://hunter2@a":                               "without a password",
		"redis://:hunter2@a,b":                            "takes one address",
		"rediss://:hunter2@a,b":                           "takes one address",
		"redis://:hunter2@a/one":                          "database must be a number",
		"redis://:hunter2@a/-1":                           "database must be a number",
		"redis://:hunter2@a/1/2":                          "database must be a number",
		"redis-sentinel://:hunter2@a":                     "master's name",
		"redis-sentinel://:hunter2@a/":                    "master's name",
		"redis-sentinel://:hunter2@a/b/c":                 "master's name",
		"redis-sentinel://:hunter2@a/b?db=x":              "database must be a number",
		"redis-cluster://:hunter2@a/1":                    "takes no path",
		"redis-cluster://:hunter2@a,":                     "host:port",
		"redis://:hunter2@a?db=1":                         "no option db",
		"redis://:hunter2@a?pool_size=5":                  "no option pool_size",
		"redis://:hunter2@a?sentinel_password=hunter2":    "no option sentinel_password",
		"rediss://:hunter2@a?tls=on":                      "no option tls",
		"redis-cluster://:hunter2@a?tls=off":              "tls: must be on",
		"redis://:hunter2@a?timeout=20":                   "timeout: must be a duration",
		"redis://:hunter2@a?timeout=999us":                "timeout: must be a duration",
		"redis://:hunter2@a?timeout=10001ms":              "timeout: must be a duration",
		"redis://:hunter2@a?timeout=1s&timeout=2s":        "timeout must be given once",
		"redis://:hunter2@a?timeout":                      "timeout must be given once, with a value",
		"redis://:hunter2@a?timeout=%zz":                  "percent-encode",
		"redis://:hunter2@a?tls_ca=/ca.pem":               "without TLS",
		"redis-cluster://:hunter2@a?tls_server_name=b":    "without TLS",
		"rediss://:hunter2@a?tls_cert=/c.pem":             "need each other",
		"rediss://:hunter2@a?tls_key=/k.pem":              "need each other",
		"redis-sentinel://a/b?sentinel_password=hunter2;": "percent-encode",
	} {
		err := redis.Check(url)
		if err == nil {
			t.Errorf("%s: no error", url)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, which does not say %q", url, err, want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats the password: %v", url, err)
		}
	}
}
