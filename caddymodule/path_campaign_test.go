package caddymodule_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Paths of the private surface, spelled as chance has it with what some server somewhere undoes: no spelling passes the
// public surface, with any method, in origin form and in absolute form.
func TestAttack13_Campaign_NoSpellingOfAnAdminPathIsPublic(t *testing.T) {
	c := newCampaign(t)
	s := newSolo(t)
	s.mustLoad("talos {\nstorage sqlite://FOLDER/talos.db\n}", publicSite)
	a, random := newAttacker(t, s.addr), c.random(1)
	passes := func(path string) {
		t.Helper()
		status, _, err := a.ask("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if err != nil || status != 299 {
			t.Fatalf("a path of the app, %s: %d, %v", path, status, err)
		}
	}
	passes("/orders/42")
	statuses := map[int]int{}
	for range c.size(1000, 30_000) {
		path, method := spell(random), choice(random, "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO")
		status, body, err := a.ask(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		if status != http.StatusNotFound && status != http.StatusBadRequest {
			t.Errorf("%s %s: %d %s", method, path, status, body)
		}
		statuses[status]++
	}
	passes("/orders/42")
	t.Logf("answers by status: %v", statuses)
	if statuses[http.StatusNotFound] < statuses[http.StatusBadRequest] {
		t.Error("most spellings are no requests at all, so little was tried")
	}
}

func choice[T any](random *rand.Rand, list ...T) T { return list[random.IntN(len(list))] }

// spell writes a path of the private surface in a way that some reader undoes: by decoding it one time or more, by
// passing over control characters, parameters, empty and dot segments and dots at a segment's end, by taking a
// backslash for a slash, or by ignoring case.
func spell(random *rand.Rand) string {
	operation := choice(random, "", "/", "/x", "/apiKeys:verify", "/issuedApiKeys", "/issuedApiKeys/x:revoke",
		"/apiKeys:derive")
	var b strings.Builder
	for segment := range strings.SplitSeq("v2alpha1/admin"+operation, "/") {
		for random.IntN(4) == 0 { // what is undone before the segment
			_, _ = b.WriteString(choice(random, "/", "/.", "/x/..", "/x/y/../..", "/x/..;a=b", "/.;", "/x/.. ", "/;"))
		}
		_ = b.WriteByte('/')
		name := segment != "" // dots alone would lead out of the private surface
		if at := random.IntN(len(segment) + 1); random.IntN(6) == 0 {
			segment = segment[:at] + choice(random, "\x00", "\n", "\t", "\x7f", "\r") + segment[at:]
		}
		if random.IntN(4) == 0 {
			segment = flipCase(random, segment)
		}
		if random.IntN(6) == 0 && name {
			segment += choice(random, ".", "..", " ", ". ", ";", ";v=1", ";v=1;w")
		}
		_, _ = b.WriteString(segment)
	}
	path := []byte(b.String())
	if random.IntN(4) == 0 {
		for i := range path {
			if path[i] == '/' && i > 0 && random.IntN(2) == 0 {
				path[i] = '\\'
			}
		}
	}
	for n := range choice(random, 0, 1, 1, 1, 2, 3) {
		var encoded []byte
		for i, c := range path {
			if i > 0 && (random.IntN(8) == 0 || n > 0 && c == '%') {
				encoded = fmt.Appendf(encoded, choice(random, "%%%02x", "%%%02X"), c)
			} else {
				encoded = append(encoded, c)
			}
		}
		path = encoded
	}
	// What no request line can hold is encoded in any case.
	var line []byte
	for _, c := range path {
		if c <= ' ' || c == 0x7f {
			line = fmt.Appendf(line, "%%%02x", c)
		} else {
			line = append(line, c)
		}
	}
	return choice(random, "", "", "", "http://localhost", "http://anywhere.example:1") + string(line) +
		choice(random, "", "", "?x=1", "?", "#x", "%3fx", "%23x")
}

func flipCase(random *rand.Rand, s string) string {
	b := []byte(s)
	for i, c := range slices.Clone(b) {
		if (c|0x20 >= 'a' && c|0x20 <= 'z') && random.IntN(2) == 0 {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}
