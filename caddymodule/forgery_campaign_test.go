package caddymodule_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
	"github.com/talos-edge/talos-edge/core/engine"
)

// Whoever holds one genuine credential of each kind, and changes it, holds nothing: on a hit's path as on a miss's.
func TestAttack17_Campaign_NoChangedCredentialIsAdmitted(t *testing.T) {
	c := newCampaign(t)
	e := startEdge(t, edgeConfig{Talos: "public_prefix pub\nissuer https://a.example"})
	_, key := e.issue(engine.IssueRequest{Scopes: []string{"a"}})
	_, other := e.issue(engine.IssueRequest{ActorID: "another"})
	_, public := e.issue(engine.IssueRequest{Visibility: core.VisibilityPublic})
	imported := "an-imported-key-with-enough-randomness-0123456789"
	body := `{"name":"n","actor_id":"someone","raw_key":"` + imported + `"}`
	if got := e.call(e.admin, "admin/importedApiKeys", body); got.status/100 != 2 {
		t.Fatalf("importing: %d %s", got.status, got.body)
	}
	genuine := map[string][2]string{ // and another of the kind, to put together
		"key": {key, other}, "imported key": {imported, strings.ToUpper(imported)},
		"JWT": {e.derive(engine.DeriveRequest{Credential: key}), e.derive(engine.DeriveRequest{Credential: other})},
		"macaroon": {
			e.derive(engine.DeriveRequest{Credential: key, Algorithm: engine.AlgorithmMacaroon}),
			e.derive(engine.DeriveRequest{Credential: other, Algorithm: engine.AlgorithmMacaroon}),
		},
	}
	good := []string{public}
	for _, pair := range genuine {
		good = append(good, pair[0], pair[1])
	}
	a := newAttacker(t, e.addr)
	admitted := func(kind, text string) {
		t.Helper()
		if status, body, err := a.ask(getting("/", text)); err != nil || status != http.StatusOK {
			t.Fatalf("the genuine %s: %d %s %v", kind, status, body, err)
		}
	}
	forged := 0
	for i, kind := range slices.Sorted(maps.Keys(genuine)) {
		random := c.random(uint64(i))
		tried := map[string]bool{}
		forge := func(text string) {
			text = strings.Trim(text, " \t") // as HTTP does
			if text == "" || tried[text] || slices.Contains(good, text) || strings.ContainsAny(text, "\r\n") {
				return
			}
			tried[text] = true
			forged++
			before := e.backend.requests()
			status, body, err := a.ask(getting("/", text))
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if status != http.StatusUnauthorized && status != http.StatusBadRequest || e.backend.requests() != before {
				t.Errorf("a changed %s, %q: %d %s", kind, text, status, body)
			}
		}
		text, second := genuine[kind][0], genuine[kind][1]
		admitted(kind, text)
		for _, change := range structural(text, second, public) {
			forge(change)
		}
		for range c.size(150, 5000) {
			forge(mutate(random, text, second))
		}
		admitted(kind, text)
	}
	t.Logf("%d forged credentials", forged)
	if least := c.size(200, 1454); forged < least {
		t.Errorf("%d forged credentials, want at least %d", forged, least)
	}
}

// mutate changes a credential in a place or two, as chance has it.
func mutate(random *rand.Rand, text, other string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \t%\x80\xff"
	b := []byte(text)
	for range 1 + random.IntN(2) {
		at := random.IntN(len(b))
		char := alphabet[random.IntN(len(alphabet))]
		switch random.IntN(9) {
		case 0: // another character
			b[at] = char
		case 1: // one bit
			b[at] ^= 1 << random.IntN(7)
			if b[at] < ' ' || b[at] == 0x7f {
				b[at] = 'A'
			}
		case 2:
			b = slices.Insert(b, at, char)
		case 3:
			b = slices.Delete(b, at, at+1)
		case 4: // two characters change places
			to := random.IntN(len(b))
			b[at], b[to] = b[to], b[at]
		case 5: // the other case
			b[at] ^= 0x20
			if b[at] < ' ' || b[at] == 0x7f {
				b[at] = 'a'
			}
		case 6: // cut short
			b = b[:max(1, at)]
		case 7: // the end of another
			b = append(b[:at:at], other[min(at, len(other)):]...)
		default: // a part twice
			b = slices.Insert(b, at, b[at:min(len(b), at+1+random.IntN(20))]...)
		}
		if len(b) == 0 {
			return ""
		}
	}
	return string(b)
}

// structural changes what a credential is made of.
func structural(text, other, public string) []string {
	changes := []string{
		text + text, text + "\x00", text + "%00", text + "\ufeff", "\ufeff" + text, text + ".",
		"." + text, `"` + text + `"`,
		"Bearer " + text, text + "," + text, strings.ToUpper(text), strings.ToLower(text), text + "=", text + "==",
		base64.StdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text)),
		fmt.Sprintf("%x", text), strings.ReplaceAll(text, "_", "-"), strings.ReplaceAll(text, "_", "%5f"),
		strings.ReplaceAll(text, "_", "\uff3f"), strings.ReplaceAll(text, "a", "\u0430"), text[:len(text)/2],
		strings.Repeat(text, 1+credential.MaxLength/len(text)),
	}
	if at := strings.LastIndexByte(text, '_'); at > 0 { // prefix, name and proof put together anew
		proof := text[at:]
		changes = append(changes, text[:at], text[:at+1], text[:at]+"__"+text[at+1:], "pub"+proof, public+proof,
			"pub"+text[strings.IndexByte(text, '_'):], public[:strings.LastIndexByte(public, '_')]+proof)
		if to := strings.LastIndexByte(other, '_'); to > 0 {
			changes = append(changes, text[:at]+other[to:], other[:to]+proof)
		}
	}
	parts, others := strings.Split(text, "."), strings.Split(other, ".")
	if len(parts) != 3 {
		return changes
	}
	for i := range parts { // a part of another, none, in other order
		for _, part := range []string{others[i], "", "e30", parts[(i+1)%3]} {
			changed := slices.Clone(parts)
			changed[i] = part
			changes = append(changes, strings.Join(changed, "."))
		}
	}
	for i, name := range []string{"header", "claims"} {
		part, err := base64.RawURLEncoding.DecodeString(parts[i])
		var members map[string]any
		if err != nil || json.Unmarshal(part, &members) != nil {
			panic("the " + name + " of a token is not JSON")
		}
		for member := range members { // another value of each member, and no such member
			for _, value := range []any{
				nil, "", "none", "HS256", 0, true, []string{"*"}, "https://b.example", int64(1) << 40,
			} {
				copied := maps.Clone(members)
				copied[member] = value
				if value == nil {
					delete(copied, member)
				}
				forged, err := json.Marshal(copied)
				if err != nil {
					panic(err)
				}
				changed := slices.Clone(parts)
				changed[i] = base64.RawURLEncoding.EncodeToString(forged)
				changes = append(changes, strings.Join(changed, "."))
			}
		}
		spaced := slices.Clone(parts) // the same, spelled otherwise
		spaced[i] = base64.RawURLEncoding.EncodeToString(append([]byte(" "), part...))
		changes = append(changes, strings.Join(spaced, "."))
	}
	return changes
}
