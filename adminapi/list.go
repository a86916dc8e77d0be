package adminapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/engine"
)

func listKeys(w http.ResponseWriter, r *http.Request, n Network, kind core.Kind, _ string) error {
	request, err := listRequest(r, kind)
	if err != nil {
		return err
	}
	page, err := n.Keys.List(r.Context(), request)
	if err != nil {
		return err
	}
	now := time.Now()
	keys := make([]client.Key, len(page.Keys))
	for i := range page.Keys {
		keys[i] = record(&page.Keys[i], now)
	}
	if kind == core.Imported {
		writeJSON(w, http.StatusOK, &client.ListImportedResponse{
			ImportedAPIKeys: keys, NextPageToken: page.NextPageToken,
		})
		return nil
	}
	writeJSON(w, http.StatusOK, &client.ListIssuedResponse{IssuedAPIKeys: keys, NextPageToken: page.NextPageToken})
	return nil
}

// listRequest reads the query of a list.
func listRequest(r *http.Request, kind core.Kind) (engine.ListRequest, error) {
	out := engine.ListRequest{Kind: kind}
	q, err := parseQuery(r)
	if err != nil {
		return out, err
	}
	if out.PageSize, err = q.pageSize(); err != nil {
		return out, err
	}
	if out.PageToken, err = q.one("page_token"); err != nil {
		return out, err
	}
	out.Filter, err = q.one("filter")
	return out, err
}

// query is the query of a request.
type query url.Values

// parseQuery reads the query of a request. One that is not well formed is refused: what could not be read of it might
// have been a filter or a mask.
func parseQuery(r *http.Request) (query, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, core.NewError(core.BadRequest, "the query of the URL is malformed; percent-encode its values")
	}
	return query(values), nil
}

// changeQuery reads the query of a change, which may have these parameters, and that of every change, and no others:
// one that is misspelled would change something else than it should.
func changeQuery(r *http.Request, known ...string) (query, error) {
	q, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	return q, q.only(append(known, "wait")...)
}

// only refuses a query that has other parameters than these.
func (q query) only(known ...string) error {
	for name := range q {
		if !slices.Contains(known, name) {
			return core.NewError(core.BadRequest, fmt.Sprintf("%.50q: there is no such parameter; there are %s",
				name, strings.Join(known, ", ")))
		}
	}
	return nil
}

// flag returns a parameter that is true or false; without it, false.
func (q query) flag(name string) (bool, error) {
	value, err := q.one(name)
	switch {
	case err != nil:
		return false, err
	case len(q[name]) == 0, value == "false":
		return false, nil
	case value == "true":
		return true, nil
	default:
		return false, core.NewError(core.BadRequest, name+": must be true or false")
	}
}

// one returns a parameter that may be given once; without it, an empty text.
func (q query) one(name string) (string, error) {
	switch values := q[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", core.NewError(core.BadRequest, name+": is more than once in the query; give it once")
	}
}

// pageSize is how many items of a list are asked for; 0: as many as the server likes.
func (q query) pageSize() (int, error) {
	size, err := q.one("page_size")
	if err != nil || size == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(size, 10, 32)
	if err != nil {
		return 0, core.NewError(core.BadRequest, "page_size: must be a whole number such as 100")
	}
	return int(n), nil
}
