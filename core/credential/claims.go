package credential

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Reserved are the names of claims that only the server sets. The custom claims of a token have none of them.
var Reserved = [...]string{
	"jti", "sub", "iss", "aud", "iat", "exp", "nbf", "nid", "akid", "pid", "tty", "oid", "act", "scp", "scope", "meta",
	"vis", "acl",
}

// The values of the claim vis.
const (
	visSecret = "secret"
	visPublic = "public"
)

// maxNumericDate is the last second of the year 9999, which RFC 3339 can still write.
const maxNumericDate = 253402300799

// Claims are what a derived token says. Times are in whole seconds.
type Claims struct {
	Issuer     string                     // iss
	KeyID      string                     // sub: the parent key
	Network    uuid.UUID                  // nid
	TokenID    string                     // jti
	IssueTime  time.Time                  // iat
	NotBefore  time.Time                  // nbf
	ExpireTime time.Time                  // exp
	ActorID    string                     // act
	Scopes     []string                   // scp
	Metadata   json.RawMessage            // meta: a JSON object, or nil
	Public     bool                       // vis: "public" or "secret"
	CIDRs      []string                   // acl
	Custom     map[string]json.RawMessage // all others
}

// ErrToken is what every refused token is: who presents it learns nothing more.
var ErrToken = errors.New("token is not genuine or not well formed")

// CustomClaims reads the claims that a caller asks to have in a token: a JSON object, of which the [Reserved] names are
// dropped. So are those that differ from them in case only (Unicode's simple folding): readers of tokens, Go's
// encoding/json among them, take one for the other. Nothing and null are no claims.
func CustomClaims(object json.RawMessage) (map[string]json.RawMessage, error) {
	if len(object) == 0 || string(object) == "null" {
		return nil, nil
	}
	claims, err := ParseObject(object)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(claims, isReserved)
	return claims, nil
}

// isReserved reports whether a reader could take a claim for one that the server sets.
func isReserved(name string, _ json.RawMessage) bool {
	return slices.ContainsFunc(Reserved[:], func(r string) bool { return strings.EqualFold(r, name) })
}

// MarshalJSON writes the claims as the payload of a token. Custom claims cannot replace others.
func (c *Claims) MarshalJSON() ([]byte, error) {
	all := make(map[string]any, len(c.Custom)+len(Reserved))
	for name, value := range c.Custom {
		if !isReserved(name, value) {
			all[name] = value
		}
	}
	maps.Copy(all, map[string]any{
		"iss": c.Issuer, "sub": c.KeyID, "nid": c.Network.String(), "jti": c.TokenID, "act": c.ActorID,
		"iat": c.IssueTime.Unix(), "nbf": c.NotBefore.Unix(), "exp": c.ExpireTime.Unix(), "vis": visSecret,
		"scp": append([]string{}, c.Scopes...),
	})
	if c.Public {
		all["vis"] = visPublic
	}
	if c.Metadata != nil {
		all["meta"] = c.Metadata
	}
	if len(c.CIDRs) > 0 {
		all["acl"] = c.CIDRs
	}
	b, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	return b, nil
}

// UnmarshalJSON reads the payload of a token. It is strict: each claim that a verdict follows from must be there and be
// of its type. A token for an audience (aud) is for somebody else.
func (c *Claims) UnmarshalJSON(data []byte) error {
	all, err := ParseObject(data)
	if err != nil {
		return err
	}
	if _, there := all["aud"]; there {
		return errClaim("aud")
	}
	var network, visibility string
	for _, f := range []struct {
		name string
		to   *string
	}{
		{"iss", &c.Issuer}, {"sub", &c.KeyID}, {"nid", &network}, {"jti", &c.TokenID}, {"act", &c.ActorID},
		{"vis", &visibility},
	} {
		if !text(all[f.name], f.to) || *f.to == "" {
			return errClaim(f.name)
		}
	}
	if c.Network, err = uuid.Parse(network); err != nil || c.Network.String() != network {
		return errClaim("nid")
	}
	for _, f := range []struct {
		name string
		to   *time.Time
	}{{"iat", &c.IssueTime}, {"nbf", &c.NotBefore}, {"exp", &c.ExpireTime}} {
		if !numericDate(all[f.name], f.to) {
			return errClaim(f.name)
		}
	}
	if c.Public = visibility == visPublic; !c.Public && visibility != visSecret {
		return errClaim("vis")
	}
	if !texts(all["scp"], &c.Scopes) {
		return errClaim("scp")
	}
	if acl, there := all["acl"]; there && (!texts(acl, &c.CIDRs) || len(c.CIDRs) == 0) {
		return errClaim("acl")
	}
	if meta, there := all["meta"]; there {
		if meta[0] != '{' {
			return errClaim("meta")
		}
		c.Metadata = meta
	}
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool { return slices.Contains(Reserved[:], name) })
	c.Custom = all
	return nil
}

func errClaim(name string) error { return fmt.Errorf("claim %s is missing or wrong", name) }

// text reads a JSON string.
func text(raw json.RawMessage, to *string) bool {
	return len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, to) == nil
}

// texts reads a JSON array of strings.
func texts(raw json.RawMessage, to *[]string) bool {
	if len(raw) == 0 || raw[0] != '[' {
		return false
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return false
	}
	list := make([]string, len(items))
	for i := range items {
		if !text(items[i], &list[i]) {
			return false
		}
	}
	*to = list
	return true
}

// numericDate reads a whole number of seconds since 1970, to the end of the year 9999.
func numericDate(raw json.RawMessage, to *time.Time) bool {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 || n > maxNumericDate {
		return false
	}
	*to = time.Unix(n, 0).UTC()
	return true
}
