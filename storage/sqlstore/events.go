package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/feed"
)

const (
	eventColumns = `seq, network, key_id, key_kind, actor_id, kind, time, reason, related_key_id, ` +
		`caller_kind, caller_id, caller_user, request_id`
	insertEvent = `INSERT INTO events (` + eventColumns + `) ` +
		`VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`
)

// add adds what happened to a key to the transaction's events.
func (w *Writer) add(ctx context.Context, k *core.Key, kind feed.EventKind, at time.Time) *feed.Event {
	w.events = append(w.events, feed.Event{
		Network: k.Network, KeyID: k.ID, KeyKind: uint8(k.Kind), ActorID: k.ActorID, Kind: kind,
		Time: time.UnixMicro(at.UnixMicro()).UTC(), Caller: core.CallerOf(ctx),
	})
	return &w.events[len(w.events)-1]
}

// next is the position that the next event of the transaction gets; 0: it is not known before the transaction's end.
func (w *Writer) next(ctx context.Context) (int64, error) {
	if w.dialect.AppendEvents != "" {
		return 0, nil
	}
	if !w.lastRead {
		if _, err := One(ctx, w.newest, []any{&w.last}); err != nil {
			return 0, err
		}
		w.lastRead = true
	}
	return w.last + int64(len(w.events)) + 1, nil
}

// writeEvents writes the transaction's events and gives them their positions.
func (w *Writer) writeEvents(ctx context.Context) error {
	if w.dialect.AppendEvents != "" {
		return w.appendEvents(ctx)
	}
	next, err := w.next(ctx)
	if err != nil {
		return err
	}
	first := next - int64(len(w.events))
	for i := range w.events {
		e := &w.events[i]
		if e.Position, err = position(first + int64(i)); err != nil {
			return err
		}
		_, err := w.event.Exec(ctx, first+int64(i), e.Network[:], e.KeyID, int64(e.KeyKind), e.ActorID, int64(e.Kind),
			e.Time.UnixMicro(), int64(e.Reason), e.Related,
			int64(e.Caller.Kind), e.Caller.ID, e.Caller.User, e.Caller.RequestID)
		if err != nil {
			return err
		}
	}
	return nil
}

// appendEvents is writeEvents in one statement.
func (w *Writer) appendEvents(ctx context.Context) error {
	n := len(w.events)
	var (
		networks                                          = make([][]byte, n)
		keyIDs, actors, related, callers, users, requests = texts(n), texts(n), texts(n), texts(n), texts(n), texts(n)
		keyKinds, kinds, times, reasons, callerKinds      = numbers(n), numbers(n), numbers(n), numbers(n), numbers(n)
		last                                              int64
	)
	for i := range w.events {
		e := &w.events[i]
		networks[i], keyIDs[i], actors[i], related[i] = e.Network[:], e.KeyID, e.ActorID, e.Related
		callers[i], users[i], requests[i] = e.Caller.ID, e.Caller.User, e.Caller.RequestID
		keyKinds[i], kinds[i], times[i] = int64(e.KeyKind), int64(e.Kind), e.Time.UnixMicro()
		reasons[i], callerKinds[i] = int64(e.Reason), int64(e.Caller.Kind)
	}
	found, err := One(ctx, w.event, []any{&last}, networks, keyIDs, keyKinds, actors, kinds, times, reasons, related,
		callerKinds, callers, users, requests, int64(n))
	if err != nil {
		return err
	}
	if !found || last < int64(n) {
		return fmt.Errorf("write feed: %d events got the position %d", n, last)
	}
	for i := range w.events {
		if w.events[i].Position, err = position(last - int64(n-1-i)); err != nil {
			return err
		}
	}
	return nil
}

func texts(n int) []string { return make([]string, n) }

func numbers(n int) []int64 { return make([]int64, n) }
