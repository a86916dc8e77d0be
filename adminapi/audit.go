package adminapi

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
	"github.com/talos-edge/talos-edge/core/feed"
)

// Origin is where a request comes from, beside the client's address.
type Origin struct {
	User      string // whom the server has authenticated; empty: nobody
	RequestID string // the caller's or the server's name for the request; empty: none

	KeyID       string // of the key that a gate has admitted the request with; empty: there was none
	Certificate string // the subject of the client's certificate; empty: there was none
}

// feedCaller is who makes a change, for the feed.
func (s *surface) feedCaller(r *http.Request) feed.Caller {
	from := s.Origin(r)
	c := feed.Caller{Kind: feed.CallerAddress, User: callerText(from.User), RequestID: callerText(from.RequestID)}
	switch {
	case from.KeyID != "":
		c.Kind, c.ID = feed.CallerKey, callerText(from.KeyID)
	case from.Certificate != "":
		c.Kind, c.ID = feed.CallerCertificate, callerText(from.Certificate)
	default:
		c.ID = addressName(s.ClientAddr(r))
	}
	return c
}

// maxCallerText is the most bytes of a text about the caller in the feed.
const maxCallerText = 256

func callerText(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxCallerText)], "") }

// Change is the audit log's record of a change that was made. Of what a key's owner wrote it has the actor only.
type Change struct {
	KeyID    string // empty: not known
	NewKeyID string // of the key that a rotation made
	ActorID  string // empty: not known
	Network  core.NetworkID
	Reason   core.RevocationReason
	Repeated bool // the request had been answered before, and changed nothing
}

// maxAuditText is the most bytes of a text in a line that a caller or an upstream has written.
const maxAuditText = 1024

// Record writes a change to the audit log, as one line at info level. op is nil for an operation that the API does not
// have.
func (o *Options) Record(r *http.Request, op *Operation, c *Change) {
	if op == nil {
		op = &Operation{Name: "other", Message: "key changed"}
	}
	entry := o.Audit.Check(zap.InfoLevel, op.Message)
	if entry == nil {
		return
	}
	fields := append(make([]zap.Field, 0, 10), zap.String("operation", op.Name))
	text := func(name, value string) {
		if value != "" {
			fields = append(fields, zap.String(name, value[:min(len(value), maxAuditText)]))
		}
	}
	text("key_id", keyName(c.KeyID))
	text("new_key_id", keyName(c.NewKeyID))
	text("actor_id", c.ActorID)
	if c.Network != (core.NetworkID{}) {
		text("network", c.Network.String())
	}
	if op.Changes&GivesReason != 0 {
		text("reason", string(ReasonName(c.Reason)))
	}
	from := o.Origin(r)
	fields = append(fields, zap.String("client_ip", addressName(o.ClientAddr(r))))
	text("user", from.User)
	text("request_id", from.RequestID)
	result := "ok"
	if c.Repeated {
		result = "repeated"
	}
	entry.Write(append(fields, zap.String("result", result))...)
}

// keyName is a key id, or empty if it does not have the form of one: a sidecar's upstream may answer anything.
func keyName(id string) string {
	if !core.ValidKeyID(id) {
		return ""
	}
	return id
}

// audited is a network whose keys write the changes that are made through them to the audit log.
func (s *surface) audited(r *http.Request, op *Operation, n Network) Network {
	record := func(c Change) {
		c.Network = n.ID
		s.Record(r, op, &c)
	}
	n.Holders = auditedHolders{n.holders(), record}
	if n.Keys != nil {
		n.Keys = auditedKeys{n.Keys, record}
	}
	return n
}

// auditedHolders are [Holders] whose changes are recorded.
type auditedHolders struct {
	Holders
	record func(Change)
}

// SelfRevoke records that a holder has revoked its key.
func (h auditedHolders) SelfRevoke(ctx context.Context, cred string, reason core.RevocationReason) (core.Key, error) {
	key, err := h.Holders.SelfRevoke(ctx, cred, reason)
	if err == nil {
		h.record(Change{KeyID: key.ID, ActorID: key.ActorID, Reason: reason})
	}
	return key, err
}

// auditedKeys are [Keys] whose changes are recorded, but for self-revocations.
type auditedKeys struct {
	Keys
	record func(Change)
}

// Issue records a new key.
func (k auditedKeys) Issue(ctx context.Context, r engine.IssueRequest) (key core.Key, secret string, err error) {
	if key, secret, err = k.Keys.Issue(ctx, r); err == nil {
		k.record(Change{KeyID: key.ID, ActorID: key.ActorID, Repeated: secret == ""})
	}
	return key, secret, err
}

// Import records a new key.
func (k auditedKeys) Import(ctx context.Context, r engine.ImportRequest) (core.Key, error) {
	began := creationTime()
	key, err := k.Keys.Import(ctx, r)
	if err == nil {
		k.imported(&key, began)
	}
	return key, err
}

// ImportMany records each new key on its own.
func (k auditedKeys) ImportMany(ctx context.Context, all []engine.ImportRequest) ([]engine.ImportResult, error) {
	began := creationTime()
	results, err := k.Keys.ImportMany(ctx, all)
	for i := range results {
		if results[i].Err == nil {
			k.imported(&results[i].Key, began)
		}
	}
	return results, err
}

// imported records a new key, or one that an earlier request with the same id has made.
func (k auditedKeys) imported(key *core.Key, began time.Time) {
	k.record(Change{KeyID: key.ID, ActorID: key.ActorID, Repeated: key.CreateTime.Before(began)})
}

// creationTime is the present time in the precision of a key's creation time: whole microseconds.
func creationTime() time.Time { return time.Now().Truncate(time.Microsecond) }

// Update records what the key's record shows of a change.
func (k auditedKeys) Update(
	ctx context.Context, kind core.Kind, keyID string, r engine.UpdateRequest,
) (core.Key, error) {
	key, err := k.Keys.Update(ctx, kind, keyID, r)
	if err == nil {
		k.record(Change{KeyID: key.ID, ActorID: key.ActorID})
	}
	return key, err
}

// Rotate records both keys.
func (k auditedKeys) Rotate(ctx context.Context, keyID string, r engine.RotateRequest) (
	fresh, old core.Key, secret string, err error,
) {
	if fresh, old, secret, err = k.Keys.Rotate(ctx, keyID, r); err == nil {
		k.record(Change{KeyID: old.ID, NewKeyID: fresh.ID, ActorID: old.ActorID})
	}
	return fresh, old, secret, err
}

// Revoke records a revocation.
func (k auditedKeys) Revoke(
	ctx context.Context, kind core.Kind, keyID string, r engine.RevokeRequest,
) (core.Key, error) {
	key, err := k.Keys.Revoke(ctx, kind, keyID, r)
	if err == nil {
		k.record(Change{KeyID: key.ID, ActorID: key.ActorID, Reason: r.Reason})
	}
	return key, err
}

// RevokeLineage records each revocation.
func (k auditedKeys) RevokeLineage(
	ctx context.Context, kind core.Kind, keyID string, r engine.RevokeRequest,
) ([]core.Key, error) {
	revoked, err := k.Keys.RevokeLineage(ctx, kind, keyID, r)
	for i := range revoked {
		k.record(Change{KeyID: revoked[i].ID, ActorID: revoked[i].ActorID, Reason: r.Reason})
	}
	return revoked, err
}

// Suspend records a suspension.
func (k auditedKeys) Suspend(ctx context.Context, kind core.Kind, keyID string) (core.Key, error) {
	key, err := k.Keys.Suspend(ctx, kind, keyID)
	if err == nil {
		k.record(Change{KeyID: key.ID, ActorID: key.ActorID})
	}
	return key, err
}

// Resume records the end of a suspension.
func (k auditedKeys) Resume(ctx context.Context, kind core.Kind, keyID string) (core.Key, error) {
	key, err := k.Keys.Resume(ctx, kind, keyID)
	if err == nil {
		k.record(Change{KeyID: key.ID, ActorID: key.ActorID})
	}
	return key, err
}

// Delete records a deletion. The key is read first, for its actor; if it cannot be read, it is deleted all the same.
func (k auditedKeys) Delete(ctx context.Context, keyID string) error {
	key, _ := k.Get(ctx, core.Imported, keyID)
	err := k.Keys.Delete(ctx, keyID)
	if err == nil {
		k.record(Change{KeyID: keyID, ActorID: key.ActorID})
	}
	return err
}

// revocationPause is the least time between two log lines about failed self-revocations.
const revocationPause = time.Minute

// failedRevocations counts the failed self-revocations that are not logged yet.
type failedRevocations struct {
	mu     sync.Mutex
	untold int
	last   time.Time // when the last line was logged; zero: never
}

// add counts a failure, and returns how many are to be logged now.
func (f *failedRevocations) add() (told int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.untold++
	now := time.Now()
	if !f.last.IsZero() && now.Sub(f.last) < revocationPause {
		return 0
	}
	told, f.untold, f.last = f.untold, 0, now
	return told
}

// selfRevocationFailed counts a failed self-revocation. Anybody may cause one, so at most one line a minute is logged.
func (s *surface) selfRevocationFailed(r *http.Request, reason core.Reason) {
	s.SelfRevocationFailed(reason)
	if n := s.failed.add(); n > 0 {
		s.Audit.Warn("self-revocations fail", zap.Int("failed", n), zap.String("reason", string(reason)),
			zap.String("client_ip", addressName(s.ClientAddr(r))))
	}
}

// addressName is an address in the log.
func addressName(addr netip.Addr) string {
	if !addr.IsValid() {
		return "unknown"
	}
	return addr.String()
}
