package gateway

import (
	"net/http"
	"strings"
)

// Leads tells whether a request from inside an instance is for a function URL: by its
// host name, or by its path as on the gateway's address.
func (g *Gateway) Leads(r *http.Request) bool {
	path, _ := split(r)
	return strings.HasPrefix(path, pathPrefix) || strings.HasSuffix(hostname(r.Host), g.suffix)
}

// ServeInside answers a request that [Gateway.Leads] has told of, at the listener where
// functions call the API. There are no routes, and a caller there is in no network:
// internal URLs let nobody in. admitted is called once the caller may go on, before
// anything else of the request is looked at.
func (g *Gateway) ServeInside(w http.ResponseWriter, r *http.Request, admitted func(*http.Request)) {
	id := newRequestID()
	w.Header()["X-Amzn-Requestid"] = []string{id}
	path, query := split(r)
	find := func() (Target, error) { return g.byPath(path, query) }
	if id, ok := strings.CutSuffix(hostname(r.Host), g.suffix); ok {
		find = func() (Target, error) { return g.byHost(id, path, query) }
	}
	t, err := find()
	if err == nil && t.URL != nil && t.URL.Internal {
		err = errForbidden()
	}
	if err != nil {
		refuse(w, r, err)
		return
	}
	t.RequestID, t.admitted = id, admitted
	g.enter(w, r, &t)
}
