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
// In a call, keys that were good before come first. A caller without such a key cannot make one, so it delays none; an
// eighth of each call is reserved for the rest, so that a new key gets in. The rest is shared equally between client
// addresses. Of one address, and of known keys, the oldest look-up goes first. While others wait, one call in eight is
// for an unknown credential that was made so that it has a call of its own.
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
	sparing  int // calls that go before the next one for an unknown key's look-up alone, if any

	known, unknown Pace
}

// unknownShare is the part of a call that is reserved for keys that were not good before, and of the calls that may
// hold one of them alone: one in so many.
const unknownShare = 8

// laneKey names look-ups that may share a call.
type laneKey struct {
	network core.NetworkID
	opaque  bool // each of them has a call of its own, see [batchClaims]
}

// lane is what waits under one laneKey.
type lane struct {
	key     laneKey
	known   list.List // of *lookup: keys that were good before
	clients list.List // of *client: those with look-ups of other credentials, the next one first
}

// client is what waits for the credentials that one client address has sent.
type client struct {
	key     clientKey
	waiting list.List     // of *lookup
	turn    *list.Element // in lane.clients
	rank    int           // in queue.largest
}

func newQueue(limits Limits, room int) queue {
	return queue{
		calls: limits.Calls, items: limits.Items, bytes: limits.Bytes, room: room,
		lanes: make(map[laneKey]*lane), clients: make(map[clientKey]*client),
	}
}

// known reports whether a look-up is of a key that was good before.
func (l *lookup) known() bool { return l.old != nil }

// push adds a look-up.
func (q *queue) push(l *lookup) {
	at := q.lanes[l.lane]
	if at == nil {
		at = &lane{key: l.lane}
		q.lanes[l.lane], q.turns = at, append(q.turns, at)
	}
	q.waiting++
	if l.known() {
		l.place = at.known.PushBack(l)
		return
	}
	c := q.clients[l.client]
	if c == nil {
		c = &client{key: l.client}
		c.turn = at.clients.PushBack(c)
		q.clients[l.client] = c
		q.largest.add(c)
	}
	l.place = c.waiting.PushBack(l)
	q.largest.grown(c)
}

// drop removes a look-up that waits.
func (q *queue) drop(l *lookup) {
	at := q.lanes[l.lane]
	if l.known() {
		at.known.Remove(l.place)
	} else {
		c := q.clients[l.client]
		c.waiting.Remove(l.place)
		q.largest.shrunk(c)
		if c.waiting.Len() == 0 {
			q.largest.remove(c)
			at.clients.Remove(c.turn)
			delete(q.clients, l.client)
		}
	}
	l.place = nil
	q.waiting--
	if at.known.Len() > 0 || at.clients.Len() > 0 {
		return
	}
	delete(q.lanes, at.key)
	q.turns = slices.DeleteFunc(q.turns, func(other *lane) bool { return other == at })
}

// surplus is the look-up to refuse when more wait than may: the last one of the client that has the most. It is nil
// when only known keys wait.
func (q *queue) surplus() *lookup {
	if len(q.largest) == 0 {
		return nil
	}
	return q.largest[0].waiting.Back().Value.(*lookup) //nolint:errcheck,forcetypeassert // the list holds nothing else
}

// next removes the look-ups of the next call from the queue. It returns none when nothing may go now.
func (q *queue) next(now time.Time) []*lookup {
	if q.inFlight >= q.calls {
		return nil
	}
	for _, all := range []bool{q.sparing == 0, true} {
		for range len(q.turns) {
			at := q.turns[0]
			q.turns = append(q.turns[1:], at)
			alone := at.key.opaque && at.known.Len() == 0
			if alone && !all {
				continue
			}
			if batch := q.take(at, now); len(batch) > 0 {
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
func (q *queue) take(at *lane, now time.Time) []*lookup {
	t := taking{queue: q, items: q.items}
	if at.key.opaque {
		t.items = 1
	}
	knownMay, unknownMay := q.known.Open(now), at.clients.Len() > 0 && q.unknown.Open(now)
	reserved := 0
	if unknownMay {
		reserved = t.items / unknownShare
	}
	if knownMay {
		t.oldest(&at.known, t.items-reserved)
	}
	if unknownMay {
		t.fairly(at)
	}
	if knownMay {
		t.oldest(&at.known, t.items)
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

// hasUnknown reports whether a call holds look-ups of keys that are not known to be good.
func hasUnknown(batch []*lookup) bool {
	return slices.ContainsFunc(batch, func(l *lookup) bool { return !l.known() })
}

// paceOf is the pace of calls that can hold a look-up.
func (q *queue) paceOf(l *lookup) *Pace {
	if l.known() {
		return &q.known
	}
	return &q.unknown
}

// paused is how long the pace of calls delays what waits. It is zero when nothing waits, or for a call only.
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
	queue  *queue
	items  int
	bytes  int
	claims batchClaims
	full   bool // the next one has no room
	batch  []*lookup

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
func (t *taking) fairly(at *lane) {
	for before := -1; len(t.batch) > before; {
		before = len(t.batch)
		next := at.clients.Front()
		for range at.clients.Len() {
			if len(t.batch) == t.items || t.full {
				return
			}
			c := next.Value.(*client) //nolint:errcheck,forcetypeassert // the list holds nothing else
			next = next.Next()
			if t.one(c) {
				at.clients.MoveToBack(c.turn)
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
	l := e.Value.(*lookup) //nolint:errcheck,forcetypeassert // see push
	size := cmp.Or(l.Claim.Size, len(l.Credential))
	if t.full = len(t.batch) > 0 && t.bytes+size > t.queue.bytes; t.full {
		return false
	}
	if !t.claims.add(l.Claim) {
		return false
	}
	t.bytes += size
	t.queue.drop(l)
	t.batch = append(t.batch, l)
	return true
}
