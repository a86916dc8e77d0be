package verify

import (
	"cmp"
	"container/list"
	"math"
	"slices"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// queue decides which look-ups the next call of the source takes. It has no timer of its own and no lock: the
// verifier's mutex guards it.
//
// While fewer than the most calls are out, a look-up goes at once. Otherwise it waits, and a call that returns takes
// the waiting ones with it, up to what a call may hold. Networks take turns and never share a call.
//
// In a call, keys that were good before come first. Strangers cannot make such a key, so they cannot delay one; an
// eighth of each call is kept for the rest, so that a new key gets in. The rest is shared equally between client
// addresses. Of one address, and of known keys, the oldest look-up goes first. While others wait, one call in eight is
// for a credential that strangers have made so that it has a call of its own.
type queue struct {
	calls int // in flight, at most
	items int // look-ups of one call, at most
	bytes int // of the credentials in one call, at most; a larger one goes alone
	room  int // look-ups that may wait

	lanes    map[laneKey]*lane // those in which something waits
	turns    []*lane           // the same, the next one first
	clients  map[clientKey]*client
	largest  byWaiting // the clients, the one with the most look-ups first
	waiting  int
	inFlight int
	sparing  int // calls that go before the next one for a stranger's look-up alone, if there are any

	known, unknown Pace
}

// unknownShare is the part of a call that is kept for keys that were not good before, and of the calls that may hold
// one of them alone: one in so many.
const unknownShare = 8

// laneKey names look-ups that may share a call.
type laneKey struct {
	network core.NetworkID
	opaque  bool // each of them has a call of its own, see [Apart]
}

// lane is what waits under one laneKey.
type lane struct {
	key     laneKey
	known   list.List // of *flight: keys that were good before
	clients list.List // of *client: those with look-ups of other credentials, the next one first
}

// client is what waits for the credentials that one client address has sent.
type client struct {
	key     clientKey
	waiting list.List     // of *flight
	turn    *list.Element // in lane.clients
	rank    int           // in queue.largest
}

func newQueue(c *Config) queue {
	return queue{
		calls: c.MaxLookups, items: c.MaxBatch, bytes: c.MaxBatchBytes, room: c.MaxWaiting,
		lanes: make(map[laneKey]*lane), clients: make(map[clientKey]*client),
	}
}

// known tells whether a look-up is of a key that was good before.
func (f *flight) known() bool { return f.old != nil }

// push adds a look-up.
func (q *queue) push(f *flight) {
	l := q.lanes[f.lane]
	if l == nil {
		l = &lane{key: f.lane}
		q.lanes[f.lane], q.turns = l, append(q.turns, l)
	}
	q.waiting++
	if f.known() {
		f.place = l.known.PushBack(f)
		return
	}
	c := q.clients[f.client]
	if c == nil {
		c = &client{key: f.client}
		c.turn = l.clients.PushBack(c)
		q.clients[f.client] = c
		q.largest.add(c)
	}
	f.place = c.waiting.PushBack(f)
	q.largest.grown(c)
}

// drop removes a look-up that waits.
func (q *queue) drop(f *flight) {
	l := q.lanes[f.lane]
	if f.known() {
		l.known.Remove(f.place)
	} else {
		c := q.clients[f.client]
		c.waiting.Remove(f.place)
		q.largest.shrunk(c)
		if c.waiting.Len() == 0 {
			q.largest.remove(c)
			l.clients.Remove(c.turn)
			delete(q.clients, f.client)
		}
	}
	f.place = nil
	q.waiting--
	if l.known.Len() > 0 || l.clients.Len() > 0 {
		return
	}
	delete(q.lanes, l.key)
	q.turns = slices.DeleteFunc(q.turns, func(other *lane) bool { return other == l })
}

// surplus is the look-up to refuse when more wait than may: the last one of the client that has the most. It is nil
// when only known keys wait.
func (q *queue) surplus() *flight {
	if len(q.largest) == 0 {
		return nil
	}
	return q.largest[0].waiting.Back().Value.(*flight) //nolint:errcheck,forcetypeassert // the list holds nothing else
}

// next removes the look-ups of the next call from the queue. It returns none when nothing may go now.
func (q *queue) next(now time.Time) []*flight {
	if q.inFlight >= q.calls {
		return nil
	}
	for _, all := range []bool{q.sparing == 0, true} {
		for range len(q.turns) {
			l := q.turns[0]
			q.turns = append(q.turns[1:], l)
			alone := l.key.opaque && l.known.Len() == 0
			if alone && !all {
				continue
			}
			if batch := q.take(l, now); len(batch) > 0 {
				if q.sparing = max(q.sparing-1, 0); alone {
					q.sparing = unknownShare - 1
				}
				return batch
			}
		}
	}
	return nil
}

// take removes what one call can hold from a lane.
func (q *queue) take(l *lane, now time.Time) []*flight {
	t := taking{queue: q, items: q.items}
	if l.key.opaque {
		t.items = 1
	}
	knownMay, unknownMay := q.known.Open(now), l.clients.Len() > 0 && q.unknown.Open(now)
	reserved := 0
	if unknownMay {
		reserved = t.items / unknownShare
	}
	if knownMay {
		t.oldest(&l.known, t.items-reserved)
	}
	if unknownMay {
		t.fairly(l)
	}
	if knownMay {
		t.oldest(&l.known, t.items)
	}
	switch {
	case len(t.batch) == 0:
	case hasUnknown(t.batch):
		q.unknown.Sent(now)
	default:
		q.known.Sent(now)
	}
	return t.batch
}

// hasUnknown tells whether a call holds look-ups of keys that are not known to be good.
func hasUnknown(batch []*flight) bool {
	return slices.ContainsFunc(batch, func(f *flight) bool { return !f.known() })
}

// paceOf is the pace of calls that can hold a look-up.
func (q *queue) paceOf(f *flight) *Pace {
	if f.known() {
		return &q.known
	}
	return &q.unknown
}

// paused is how long the pace of calls keeps back what waits. It is zero when nothing waits, or for a call only.
func (q *queue) paused(now time.Time) time.Duration {
	if q.waiting == 0 || q.inFlight >= q.calls {
		return 0
	}
	pause := time.Duration(math.MaxInt64)
	for _, p := range []*Pace{&q.known, &q.unknown} {
		if left := p.from.Sub(now); left > 0 {
			pause = min(pause, left)
		}
	}
	return pause
}

// taking is a call that is being filled.
type taking struct {
	queue *queue
	items int
	bytes int
	apart Apart
	full  bool // the next one has no room
	batch []*flight

	from map[*client]*list.Element // where the look-ups begin that were not passed over; nil: none are left
}

// oldest takes the oldest look-ups of a list until the call holds a number of them.
func (t *taking) oldest(from *list.List, items int) {
	for e := from.Front(); e != nil && len(t.batch) < items && !t.full; {
		next := e.Next()
		t.add(e)
		e = next
	}
}

// fairly takes a look-up of each client in turn until the call is full. A client that has had its turn is the last one
// next time. One whose look-ups must not share this call keeps its place, so that those who claim the same key take
// turns, too.
func (t *taking) fairly(l *lane) {
	for before := -1; len(t.batch) > before; {
		before = len(t.batch)
		next := l.clients.Front()
		for range l.clients.Len() {
			if len(t.batch) == t.items || t.full {
				return
			}
			c := next.Value.(*client) //nolint:errcheck,forcetypeassert // the list holds nothing else
			next = next.Next()
			if t.one(c) {
				l.clients.MoveToBack(c.turn)
			}
		}
	}
}

// one takes the oldest look-up of a client that may share the call. It returns false when there is none among as many
// as a call holds, and looks no further in this call then.
func (t *taking) one(c *client) (added bool) {
	e, passed := t.from[c]
	if !passed {
		e = c.waiting.Front()
	}
	for range t.queue.items {
		if e == nil || t.full || added {
			break
		}
		next := e.Next()
		added = t.add(e)
		passed = passed || !added
		e = next
	}
	if !added {
		e = nil
	}
	if passed {
		if t.from == nil {
			t.from = make(map[*client]*list.Element)
		}
		t.from[c] = e
	}
	return added
}

// add moves a look-up from the queue into the call, if there is room for it and it may share the call.
func (t *taking) add(e *list.Element) bool {
	f := e.Value.(*flight) //nolint:errcheck,forcetypeassert // see push
	size := cmp.Or(f.claim.Size, len(f.credential))
	if t.full = len(t.batch) > 0 && t.bytes+size > t.queue.bytes; t.full {
		return false
	}
	if !t.apart.Add(f.claim) {
		return false
	}
	t.bytes += size
	t.queue.drop(f)
	t.batch = append(t.batch, f)
	return true
}
