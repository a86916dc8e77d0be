package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// A linkJob is the first line on a link's input: where it listens, what lies behind it, and how far away that is.
type linkJob struct {
	At    string        `json:"at"`
	To    string        `json:"to"`
	Delay time.Duration `json:"delay"` // in each direction
}

// Bounds of a link.
const (
	parcelSize = 64 << 10 // bytes of a parcel, at most
	underWay   = 4096     // parcels of all connections
	unread     = 256      // parcels of one direction of a connection that its reader is behind
)

// A link makes what lies behind it far away: what is sent arrives Delay later, in either direction, however much it is.
// Opening a connection takes no time, as if it had been open before.
type link struct {
	job     linkJob
	parcels chan parcel
	readers sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// A parcel is some bytes on their way. Without data it is the end of its direction.
type parcel struct {
	due  time.Time
	data []byte
	way  *way
}

// A way is one direction of a connection.
type way struct {
	from, to net.Conn
	arrived  chan []byte
	broken   bool // by the carrier: the reader is too far behind
}

// serveLink is the role of a link. It writes its address to out and ends when in does.
func serveLink(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	l := &link{parcels: make(chan parcel, underWay), conns: make(map[net.Conn]struct{})}
	if err := json.Unmarshal(line, &l.job); err != nil {
		return err
	}
	ln, err := listenAt(l.job.At, out)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	running.Go(l.carry)
	running.Go(func() { l.accept(ln) })
	_, err = io.Copy(io.Discard, lines)
	err = errors.Join(err, ln.Close())
	l.hangUp()
	l.readers.Wait()
	close(l.parcels)
	running.Wait()
	return err
}

func (l *link) accept(ln net.Listener) {
	for {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.job.To) //nolint:noctx // a loopback listener answers or refuses at once
		if err != nil {
			_ = near.Close() // as the far side would
			continue
		}
		if !l.keep(near, far) {
			return
		}
		for _, w := range []*way{{from: near, to: far}, {from: far, to: near}} {
			w.arrived = make(chan []byte, unread)
			go w.deliver()
			go l.read(w)
		}
	}
}

// keep notes a pair of connections, so that the end of the link ends them. It returns false when that has been.
func (l *link) keep(pair ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range pair {
		if l.closed {
			_ = c.Close()
		} else {
			l.conns[c] = struct{}{}
		}
	}
	if !l.closed {
		l.readers.Add(len(pair))
	}
	return !l.closed
}

func (l *link) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.conns {
		_ = c.Close()
	}
}

// read takes what is sent and notes when it has to arrive.
func (l *link) read(w *way) {
	defer l.readers.Done()
	buffer := make([]byte, parcelSize)
	for {
		n, err := w.from.Read(buffer)
		due := time.Now().Add(l.job.Delay)
		if n > 0 {
			l.parcels <- parcel{due, slices.Clone(buffer[:n]), w}
		}
		if err != nil {
			l.parcels <- parcel{due, nil, w}
			l.mu.Lock()
			delete(l.conns, w.from)
			l.mu.Unlock()
			return
		}
	}
}

// carry hands parcels over when they are due. All are as long under way, so they arrive in the order they were sent.
func (l *link) carry() {
	for p := range l.parcels {
		pauseUntil(p.due)
		switch {
		case p.data == nil:
			close(p.way.arrived)
		case p.way.broken:
		default:
			select {
			case p.way.arrived <- p.data:
			default:
				p.way.broken = true
				_ = p.way.from.Close() // whoever does not read holds nobody else up
			}
		}
	}
}

// deliver writes what has arrived.
func (w *way) deliver() {
	var err error
	for data := range w.arrived {
		if err != nil {
			continue // until the reader has noticed
		}
		if _, err = w.to.Write(data); err != nil {
			_ = w.from.Close()
		}
	}
	_ = w.to.Close() // neither side of this API closes one direction alone
}
