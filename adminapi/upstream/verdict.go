package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// Bounds of what is taken over from an answer, in bytes.
const (
	maxResult = 256 << 10
)

// answer is the upstream's answer to one query.
type answer struct {
	wire *wire
	err  error // in place of wire
	edge client.EdgeAnswer
}

// wire is a verification's result as it is read: that is_valid is missing is not the same as false.
type wire struct {
	client.VerifyResponse
	IsValid *bool `json:"is_valid"`
}

// errKeyMismatch says that an answer names another key than the credential would have: it is in the wrong place, or the
// upstream's prefixes or its network are not those that are configured here.
var errKeyMismatch = errors.New("the upstream names another key")

// codes are the verdicts that an answer may give on a credential that is not valid. What is not among them is an error.
var codes = map[client.VerificationErrorCode]core.Code{
	client.VerificationErrorInvalidFormat:    core.CodeInvalidFormat,
	client.VerificationErrorExpired:          core.CodeExpired,
	client.VerificationErrorRevoked:          core.CodeRevoked,
	client.VerificationErrorNotFound:         core.CodeNotFound,
	client.VerificationErrorSignatureInvalid: core.CodeSignatureInvalid,
	client.VerificationErrorIPNotAllowed:     core.CodeIPNotAllowed,
	client.VerificationErrorRateLimited:      core.CodeRateLimited,
}

// decode reads a result. One that cannot be read is an error of its own, and no other's.
func decode(result json.RawMessage, edge client.EdgeAnswer) answer {
	a := answer{wire: new(wire), edge: edge}
	switch {
	case len(result) > maxResult:
		a.err = errors.New("a result is too long")
	case json.Unmarshal(result, a.wire) != nil: // the cause would repeat a part of it
		a.err = errors.New("a field of a result has another type")
	case a.wire.IsValid == nil:
		a.err = errors.New("a result does not say whether the credential is valid")
	default:
		return a
	}
	a.wire = nil
	return a
}

// otherKey reports whether a result is about another key than the query. alone says that the query was the only one of
// its call, so that nothing can be in the wrong place: the upstream's word then counts for the key id of a token.
func (w *wire) otherKey(q *query, alone bool) bool {
	return w.KeyID != "" && w.KeyID != q.claim.KeyID && (!alone || !q.token())
}

// misplaced reports whether a result among several belongs to another query. siblings says that the batch holds other
// tokens of the query's key, which are told apart by their expiry.
func (w *wire) misplaced(q *query, siblings bool) bool {
	return w.otherKey(q, false) || siblings && *w.IsValid && w.ExpireTime.Unix() != q.claim.End
}

// keyID is the id of the key that a result is about.
func (w *wire) keyID(q *query) string {
	if q.token() {
		return w.KeyID
	}
	return q.parsed.KeyID
}

// verdict is what a result means. An error means that nothing can be said about the credential.
func (w *wire) verdict(n *network, q *query, understood bool) (*core.Verdict, error) {
	if !*w.IsValid {
		return w.negative(n, q)
	}
	switch {
	case w.ErrorCode == "", w.ErrorCode == client.VerificationErrorUnspecified:
	case isInconclusive(w.ErrorCode):
		return nil, errors.New("a result is valid and has an error code")
	default:
		return nil, refuses("a result is valid and has an error code")
	}
	key, err := w.key(n, q)
	if err != nil {
		return nil, err
	}
	if understood {
		if err := w.takeLimits(key); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	expired := q.token() && !key.ExpireTime.IsZero() && !now.Before(key.ExpireTime)
	if expired {
		// The upstream's leeway for the times of tokens, whatever it is, has not passed: the answer counts this once.
		key.ExpireTime = time.Time{}
	}
	v := core.NewVerdict(key, w.Issuer, now)
	v.Type = q.credentialType()
	if expired {
		v.ExpireTime, v.Leeway = w.ExpireTime, now.Sub(w.ExpireTime)+momentary
	}
	return v, nil
}

// momentary is how long a verdict counts that must not be remembered: one with less than a second left is not.
const momentary = 500 * time.Millisecond

// takeLimits takes over what an upstream that understands the edge's extension leaves to the edge to judge, and what
// uses are counted under. Any other has judged the address and counted the use itself.
func (w *wire) takeLimits(key *core.Key) (err error) {
	if w.IPRestriction != nil {
		if key.AllowedCIDRs, err = core.ParseCIDRs(w.IPRestriction.AllowedCIDRs); err != nil {
			return err
		}
	}
	if w.LineageID != "" && !core.ValidKeyID(w.LineageID) {
		return errors.New("a result has a lineage id that is none")
	}
	key.LineageID = w.LineageID
	if w.RateLimitPolicy == nil || w.RateLimitPolicy.Quota == 0 {
		return nil
	}
	window, err := core.ParseDuration(w.RateLimitPolicy.Window)
	if err != nil || w.RateLimitPolicy.Quota < 0 || window < time.Second || window > core.MaxRateLimitWindow ||
		len(w.RateLimitPolicy.Unit) > core.MaxRateLimitUnit {
		return errors.New("a result has a rate limit that is none")
	}
	key.RateLimit = core.RateLimitPolicy{
		Quota: int64(w.RateLimitPolicy.Quota), Unit: w.RateLimitPolicy.Unit, Window: window,
	}
	return nil
}

// negative is the verdict on a credential that is not valid. Only its code and its key's id are certain to be there.
func (w *wire) negative(n *network, q *query) (*core.Verdict, error) {
	code, known := codes[w.ErrorCode]
	switch {
	case known:
	case isInconclusive(w.ErrorCode):
		return nil, fmt.Errorf("a result is not valid, which %s does not explain", quoted(string(w.ErrorCode)))
	default:
		return nil, refuses("a result is not valid, for the unknown reason " + quoted(string(w.ErrorCode)))
	}
	v := &core.Verdict{Network: n.id, KeyID: q.parsed.KeyID, Type: q.credentialType(), Code: code}
	if code != core.CodeRevoked && code != core.CodeExpired {
		return v, nil
	}
	if key, err := w.key(n, q); err == nil {
		v.KeyID, v.ActorID, v.Scopes, v.Metadata = key.ID, key.ActorID, key.Scopes, key.Metadata
		v.Visibility, v.ExpireTime, v.Issuer = key.Visibility, key.ExpireTime, w.Issuer
	}
	v.Status = core.StatusRevoked
	if code == core.CodeExpired {
		v.Status = core.StatusExpired
	}
	return v, nil
}

// isInconclusive reports whether a code means that the upstream could not judge the credential.
func isInconclusive(code client.VerificationErrorCode) bool {
	switch code {
	case "", client.VerificationErrorUnspecified, client.VerificationErrorInternal:
		return true
	default:
		return false
	}
}

// key reads what a result says of the key.
func (w *wire) key(n *network, q *query) (*core.Key, error) {
	key := &core.Key{
		Network: n.id, ID: w.KeyID, Kind: core.Issued, ActorID: w.ActorID, Scopes: w.Scopes, ExpireTime: w.ExpireTime,
	}
	if q.parsed.Kind == credential.Imported {
		key.Kind = core.Imported
	}
	var err error
	switch {
	case !core.ValidKeyID(w.KeyID):
		return nil, errors.New("a result names no key")
	case !q.token() && w.KeyID != q.parsed.KeyID:
		return nil, errKeyMismatch
	}
	for _, s := range w.Scopes {
		if !core.ValidScope(s) {
			return nil, errors.New("a result holds a scope that is none")
		}
	}
	if key.Metadata, err = compactObject(w.Metadata); err != nil {
		return nil, err
	}
	if key.Visibility, err = w.visibility(q); err != nil {
		return nil, err
	}
	if key.Status, err = w.status(q); err != nil {
		return nil, err
	}
	return key, nil
}

// status is the state of the key. One that is not told is not guessed, but for a token: it has no state of its own, and
// that it is valid says what there is to say.
func (w *wire) status(q *query) (core.Status, error) {
	switch w.Status {
	case client.KeyStatusActive:
		return core.StatusActive, nil
	case client.KeyStatusRevoked:
		return core.StatusRevoked, nil
	case client.KeyStatusExpired:
		return core.StatusExpired, nil
	case "", client.KeyStatusUnspecified:
		if q.token() {
			return core.StatusActive, nil
		}
		return core.StatusUnknown, errors.New("a result does not tell the key's status")
	default:
		return core.StatusUnknown, refuses("unknown status " + quoted(string(w.Status)))
	}
}

// visibility is the visibility of the key. One that is not told is secret, unless the credential shows the opposite.
func (w *wire) visibility(q *query) (core.Visibility, error) {
	switch w.Visibility {
	case client.KeyVisibilitySecret:
		return core.VisibilitySecret, nil
	case client.KeyVisibilityPublic:
		return core.VisibilityPublic, nil
	case "", client.KeyVisibilityUnspecified:
		if q.parsed.Public {
			return core.VisibilityPublic, nil
		}
		return core.VisibilitySecret, nil
	default:
		return core.VisibilityUnknown, fmt.Errorf("unknown visibility %s", quoted(string(w.Visibility)))
	}
}

// compactObject reads metadata: a JSON object, without needless space, or nothing.
func compactObject(raw json.RawMessage) (json.RawMessage, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var b bytes.Buffer
	if raw[0] != '{' || json.Compact(&b, raw) != nil {
		return nil, errors.New("a result has metadata that is no object")
	}
	return b.Bytes(), nil
}
