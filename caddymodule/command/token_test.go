package command

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core/credential"
)

// macaroonFormat is what mints and reads the macaroons of a test.
func macaroonFormat(t *testing.T) *credential.Format {
	t.Helper()
	ring, err := credential.NewKeyring(secretA)
	if err != nil {
		t.Fatal(err)
	}
	f, err := credential.NewFormat(uuid.Nil, ring, credential.Prefixes{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func macaroon(t *testing.T, f *credential.Format) string {
	t.Helper()
	now := time.Now()
	m, err := f.MintMacaroon(&credential.Claims{
		Issuer: "http://localhost", KeyID: testKeyID, TokenID: "t", ActorID: "a",
		IssueTime: now, NotBefore: now, ExpireTime: now.Add(time.Hour), Scopes: []string{"a", "b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAMacaroonIsNarrowedWithoutAServer(t *testing.T) {
	t.Parallel()
	f := macaroonFormat(t)
	m := macaroon(t, f)
	for name, c := range map[string]struct {
		args []string
		want string // the caveats
	}{
		"all": {
			[]string{"--expires", "2100-01-02T05:04:05+02:00", "--scopes", "a,b", "--cidrs", "10.0.0.1/8,::1"},
			"expires=2100-01-02T03:04:05Z|scopes=a b|cidrs=10.0.0.0/8,::1/128",
		},
		"no scopes": {[]string{"--scopes", ""}, "scopes="},
	} {
		for _, stdin := range []bool{false, true} {
			arg, in := m, ""
			if stdin {
				arg, in = "-", m+"\n"
			}
			args := append([]string{"keys", "attenuate", arg}, c.args...)
			stdout, stderr, err := runTree(t.Context(), in, args...)
			if err != nil || stderr != "" {
				t.Fatal(err, stderr)
			}
			_, caveats, err := f.ParseMacaroon(strings.TrimSuffix(stdout, "\n"))
			if got := strings.Join(caveats, "|"); err != nil || got != c.want {
				t.Errorf("%s: %v: %q, want %q", name, err, got, c.want)
			}
		}
	}
	stdout, _, err := runTree(t.Context(), m, "keys", "attenuate", "-", "--expires", "10m", "--format", "json")
	var answer struct {
		Token string `json:"token"`
	}
	if err != nil || json.Unmarshal([]byte(stdout), &answer) != nil {
		t.Fatal(err, stdout)
	}
	_, caveats, err := f.ParseMacaroon(answer.Token)
	if err != nil || len(caveats) != 1 {
		t.Fatal(err, caveats)
	}
	until, err := time.Parse("expires="+time.RFC3339, caveats[0])
	if lifetime := time.Until(until); err != nil || lifetime > 10*time.Minute || lifetime < 5*time.Minute {
		t.Errorf("%v: it is valid for %s", err, lifetime)
	}
}
