package adminapi

import (
	"net/http"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

func (s *surface) derive(w http.ResponseWriter, r *http.Request, n Network) error {
	var in client.DeriveRequest
	if err := decode(w, r, maxBody, &in); err != nil {
		return err
	}
	request := core.DeriveRequest{
		Credential: in.Credential, Scopes: in.Scopes, CustomClaims: in.CustomClaims, Client: s.ClientAddr(r),
	}
	var err error
	if request.Algorithm, err = parseAlgorithm(in.Algorithm); err != nil {
		return err
	}
	if request.TTL, err = parseTTL(in.TTL); err != nil {
		return err
	}
	token, err := n.Keys.Derive(r.Context(), request)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, &client.DeriveResponse{Token: client.Token{
		Token: token.Token, ExpireTime: token.ExpireTime.UTC(), Scopes: token.Scopes, Claims: token.Claims,
	}})
	return nil
}
