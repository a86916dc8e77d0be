package caddymodule_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"
)

// campaign is an attack with generated requests: a few in the normal run, and as many as it takes with TALOS_LONG=1.
// The requests follow from a seed, which TALOS_SEED sets and a failure prints.
type campaign struct {
	seed uint64
}

func newCampaign(t *testing.T) campaign {
	t.Helper()
	c := campaign{seed: 1}
	if s := os.Getenv("TALOS_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("TALOS_SEED: %v", err)
		}
		c.seed = seed
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat it with TALOS_SEED=%d", c.seed)
		}
	})
	return c
}

// random is a source of choices; each stream has its own.
func (c campaign) random(stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(c.seed, stream))
}

// size is how many requests the campaign has. With the race detector the long variant has a tenth, but not fewer than
// the normal run.
func (campaign) size(normal, long int) int {
	switch {
	case os.Getenv("TALOS_LONG") == "":
		return normal
	case raceDetector:
		return max(normal, long/10)
	default:
		return long
	}
}

// attacker is a client that writes the bytes of its requests itself, over a connection that it keeps while it can.
type attacker struct {
	t    testing.TB
	addr string
	conn net.Conn
	in   *bufio.Reader
}

// patience bounds the wait for an answer, so that a server that hangs fails the test.
const patience = 30 * time.Second

func newAttacker(t testing.TB, addr string) *attacker {
	t.Helper()
	a := &attacker{t: t, addr: addr}
	t.Cleanup(a.hangUp)
	return a
}

func (a *attacker) hangUp() {
	if a.conn != nil {
		_ = a.conn.Close()
		a.conn = nil
	}
}

// connect opens a connection if there is none.
func (a *attacker) connect() error {
	if a.conn != nil {
		return nil
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(context.Background(), "tcp", a.addr)
	if err != nil {
		return err
	}
	a.conn, a.in = conn, bufio.NewReader(conn)
	return nil
}

// ask sends a request, and returns the status and the body of its answer.
func (a *attacker) ask(request string) (status int, body string, err error) {
	if err := a.connect(); err != nil {
		return 0, "", err
	}
	if err := a.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, "", err
	}
	defer func() {
		if err != nil {
			a.hangUp()
		}
	}()
	if _, err = io.WriteString(a.conn, request); err != nil {
		return 0, "", err
	}
	res, err := http.ReadResponse(a.in, nil)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(res.Body)
	closeBody(res)
	if res.Close {
		a.hangUp()
	}
	return res.StatusCode, string(text), err
}

// getting is a plain request with a credential.
func getting(target, credential string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", target, credential)
}
