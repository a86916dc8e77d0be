package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// document is what the app says to every request, and answer the same with its head.
const document = `{"id":17,"state":"shipped","lines":[{"sku":"A-1","count":2},{"sku":"B-7","count":1}]}`

var answer = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
	len(document), document)

// serveApp is the role of the app. It is as lean as the load generator, so that what is measured is mostly the proxy.
// It writes its address to out and ends when in does.
func serveApp(in io.Reader, out io.Writer) error {
	ln, err := listen(out)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serveAppConn(conn)
		}
	}()
	_, err = io.Copy(io.Discard, in)
	return errors.Join(err, ln.Close())
}

// serveAppConn answers requests without a body until the peer leaves or sends anything else.
func serveAppConn(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // all answers are written
	in := bufio.NewReaderSize(conn, 16<<10)
	for {
		first := true
		for {
			line, err := in.ReadSlice('\n')
			if err != nil || first && !bytes.HasPrefix(line, []byte("GET ")) {
				return
			}
			if first = false; len(line) <= 2 {
				break
			}
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// serveAuth is the role of the auth server that forward_auth asks: it looks the SHA-256 of the credential up in a map,
// the least that such a server can do. The first line on in is a JSON list of the good credentials.
func serveAuth(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	var credentials []string
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &credentials); err != nil {
		return err
	}
	known := make(map[[sha256.Size]byte]string, len(credentials))
	for i, c := range credentials {
		known[sha256.Sum256([]byte(c))] = fmt.Sprintf("key-%d", i)
	}
	ln, err := listen(out)
	if err != nil {
		return err
	}
	return serveUntilEnd(lines, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		credential, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		id, ok := known[sha256.Sum256([]byte(credential))]
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Auth-Key-Id", id)
		w.Header().Set("X-Auth-Actor", "load")
		w.Header().Set("X-Auth-Scopes", "orders:read")
	}))
}

// serveUntilEnd serves HTTP until in ends.
func serveUntilEnd(in io.Reader, ln net.Listener, h http.Handler) error {
	server := &http.Server{ReadHeaderTimeout: exchangeTimeout, Handler: h}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	_, err := io.Copy(io.Discard, in)
	err = errors.Join(err, server.Close())
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// listen opens a free loopback port and writes its address as a line.
func listen(out io.Writer) (net.Listener, error) {
	return listenAt("127.0.0.1:0", out)
}

// listenAt opens a port and writes its address as a line.
func listenAt(at string, out io.Writer) (net.Listener, error) {
	ln, err := net.Listen("tcp", at) //nolint:noctx // a loopback listener is there at once
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintln(out, ln.Addr())
	return ln, err
}

// freePorts finds n different loopback ports that are free at this moment.
func freePorts(n int) (ports []int, err error) {
	held := make([]net.Listener, 0, n)
	defer func() {
		for _, ln := range held {
			err = errors.Join(err, ln.Close())
		}
	}()
	for range n {
		ln, err := listen(io.Discard)
		if err != nil {
			return nil, err
		}
		held = append(held, ln)
		port, err := strconv.Atoi(portOf(ln.Addr().String()))
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// readAddress reads the address that [listen] wrote in a child, which ends if it takes too long.
func readAddress(p *process) (string, error) {
	timer := time.AfterFunc(startPatience, p.cancel)
	defer timer.Stop()
	line, err := bufio.NewReaderSize(p.stdout, 64).ReadString('\n')
	return strings.TrimSpace(line), err
}
