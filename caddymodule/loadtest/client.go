package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Bounds of one exchange of the load generator.
const (
	dialTimeout     = 3 * time.Second
	exchangeTimeout = 10 * time.Second
	maxAnswer       = 1 << 20 // bytes of a body
)

var errAnswer = errors.New("answer that this client cannot read")

// A client is one HTTP/1.1 keep-alive connection that costs next to nothing: no header maps, no allocation a request.
// It reads only what a proxy in front of our own app answers: a status and a body with a Content-Length. Not for
// concurrent use.
type client struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
}

// deadline bounds everything until t, once a slot instead of once a request: setting one costs a timer.
func (c *client) deadline(t time.Time) error {
	if err := c.connect(); err != nil {
		return err
	}
	return c.conn.SetDeadline(t)
}

func (c *client) connect() error {
	if c.conn != nil {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(context.Background(), "tcp", c.addr)
	if err != nil {
		return err
	}
	c.conn, c.in = conn, bufio.NewReaderSize(conn, 4096)
	return conn.SetDeadline(time.Now().Add(exchangeTimeout))
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close() // a broken connection has nothing more to say
		c.conn = nil
	}
}

// do sends a complete request without a body and reads the answer's status. After an error the connection is closed;
// the next call opens another.
func (c *client) do(request []byte) (status int, err error) {
	if err := c.connect(); err != nil {
		return 0, err
	}
	keep := false
	if _, err = c.conn.Write(request); err == nil {
		status, keep, err = c.answer()
	}
	if err != nil || !keep {
		c.close()
	}
	return status, err
}

func (c *client) answer() (status int, keep bool, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, false, err
	}
	if len(line) < len("HTTP/1.1 200\r\n") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, false, errAnswer
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, false, errAnswer
	}
	length, keep := -1, true
	for {
		line, err = c.in.ReadSlice('\n')
		if err != nil {
			return status, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if value, ok := headerValue(line, "content-length:"); ok {
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxAnswer {
				return status, false, errAnswer
			}
		} else if value, ok := headerValue(line, "connection:"); ok && bytes.EqualFold(value, []byte("close")) {
			keep = false
		}
	}
	if length < 0 {
		return status, false, fmt.Errorf("status %d: %w: no Content-Length", status, errAnswer)
	}
	_, err = c.in.Discard(length)
	return status, keep, err
}

// headerValue is the value of a header line whose name, in lower case with its colon, is name.
func headerValue(line []byte, name string) ([]byte, bool) {
	if len(line) < len(name) || line[0]|0x20 != name[0] || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name):]), true
}

// requestFor is the request that the load consists of, with a credential.
func requestFor(addr, credential string) []byte {
	return fmt.Appendf(nil, "GET /orders/17?expand=lines HTTP/1.1\r\nHost: %s\r\nUser-Agent: talos-loadtest\r\n"+
		"Accept: application/json\r\nAuthorization: Bearer %s\r\n\r\n", addr, credential)
}

// questionFor asks an admin API about a credential, alone, as an edge does.
func questionFor(addr, credential string) []byte {
	body := fmt.Sprintf(`{"requests":[{"credential":%q}]}`, credential)
	return fmt.Appendf(nil, "POST /v2alpha1/admin/apiKeys:batchVerify HTTP/1.1\r\nHost: %s\r\nTalos-Edge: 1\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body)
}
