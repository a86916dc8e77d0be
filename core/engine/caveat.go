package engine

import (
	"net/netip"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/credential"
)

// The caveats that a holder may append to a macaroon. Each only narrows what the macaroon is good for.
const (
	caveatExpires = "expires=" // RFC 3339
	caveatScopes  = "scopes="  // separated by single spaces; none for no scope at all
	caveatCIDRs   = "cidrs="   // separated by commas
)

// maxCaveatItems bounds the scopes and the ranges that the appended caveats of one macaroon name together, because
// each is compared with each that the macaroon has.
const maxCaveatItems = 256

// Narrowing is what a holder takes away from a macaroon before giving it to somebody else.
type Narrowing struct {
	Expires time.Time      // zero: as it is; in whole seconds, judged without leeway
	Scopes  []string       // nil: as they are; empty: none
	CIDRs   []netip.Prefix // empty: as they are
}

// Attenuate makes a narrower macaroon of one. It needs no server and no secret, and so cannot say whether the macaroon
// is genuine. What is no macaroon, or cannot be narrowed so, is [core.BadRequest].
func Attenuate(macaroon string, n Narrowing) (string, error) {
	var caveats []string
	if !n.Expires.IsZero() {
		caveats = append(caveats, caveatExpires+n.Expires.UTC().Format(time.RFC3339))
	}
	if n.Scopes != nil {
		for _, s := range n.Scopes {
			if !core.ValidScope(s) {
				return "", errScopes()
			}
		}
		caveats = append(caveats, caveatScopes+strings.Join(n.Scopes, " "))
	}
	if len(n.CIDRs) > 0 {
		list := make([]string, len(n.CIDRs))
		for i, p := range n.CIDRs {
			list[i] = p.String()
		}
		caveats = append(caveats, caveatCIDRs+strings.Join(list, ","))
	}
	switch {
	case len(caveats) == 0:
		return "", badRequest("nothing to narrow: give an expiry, scopes or address ranges")
	case len(n.Scopes)+len(n.CIDRs) > maxCaveatItems:
		return "", badRequest("more than %d scopes and address ranges", maxCaveatItems)
	}
	narrower, err := credential.AppendCaveats(macaroon, caveats...)
	if err != nil {
		return "", badRequest("macaroon: %v", err)
	}
	return narrower, nil
}

// narrow takes the caveats of holders into a token. It returns false for one that it does not know: who appended that
// meant to take something away.
func (t *token) narrow(caveats []string) bool {
	items := 0
	for _, caveat := range caveats {
		if s, ok := strings.CutPrefix(caveat, caveatExpires); ok {
			until, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return false
			}
			if until.Unix() < 0 {
				until = time.Unix(0, 0) // in UTC an early time may have no year that RFC 3339 could write
			}
			if t.until == nil || until.Before(*t.until) {
				t.until = &until
			}
		} else if s, ok := strings.CutPrefix(caveat, caveatScopes); ok {
			var scopes []string
			if s != "" {
				scopes = strings.Split(s, " ")
			}
			for _, scope := range scopes {
				if !core.ValidScope(scope) {
					return false
				}
			}
			if items += len(scopes); items > maxCaveatItems {
				return false
			}
			t.scopes = core.IntersectScopes(t.scopes, scopes)
		} else if s, ok := strings.CutPrefix(caveat, caveatCIDRs); ok {
			list := strings.Split(s, ",")
			if items += len(list); items > maxCaveatItems {
				return false
			}
			cidrs, err := core.ParseCIDRs(list)
			if err != nil {
				return false
			}
			t.cidrs = core.IntersectCIDRs(t.cidrs, cidrs)
		} else {
			return false
		}
	}
	return true
}
