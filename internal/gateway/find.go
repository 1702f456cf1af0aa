package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"lambent.dev/lambent"
)

// pathPrefix leads to functions by name.
const pathPrefix = "/fn/"

// find tells what a request is for: by the host name of a function URL, else by a
// route, else by its path. It costs the same for any number of functions and routes.
func (g *Gateway) find(r *http.Request) (Target, error) {
	path, query := split(r)
	host := hostname(r.Host)
	if id, ok := strings.CutSuffix(host, g.suffix); ok {
		return g.byHost(id, path, query)
	}
	if t, err := g.match(r, host, path, query); err != nil {
		return Target{}, err
	} else if t != nil {
		return *t, nil
	}
	return g.byPath(path, query)
}

// byHost finds the function URL of an id in a host name.
func (g *Gateway) byHost(id, path, query string) (Target, error) {
	e := g.Catalog.Entrance(id)
	if e == nil {
		return Target{}, notFound("There is no function URL at this address.")
	}
	return Target{Namespace: e.Namespace, Function: e.Function, Qualifier: e.Qualifier, Path: path, Query: query, URL: e}, nil
}

// byPath finds a function by its name in a path.
func (g *Gateway) byPath(path, query string) (Target, error) {
	name, ok := strings.CutPrefix(path, pathPrefix)
	if !ok {
		return Target{}, notFound("Nothing is served at this address: a function is at its URL's host name, at a route, or at /fn/NAME/.")
	}
	sent, rest, _ := strings.Cut(name, "/")
	name, err := url.PathUnescape(sent)
	function, qualifier, _ := strings.Cut(name, ":")
	if err != nil || !lambent.ValidName(function) {
		return Target{}, notFound("The path does not name a function.")
	}
	return Target{
		Namespace: g.Namespace, Function: function, Qualifier: qualifier, Path: "/" + rest, Prefix: pathPrefix + sent, Query: query,
		URL: g.Catalog.EntranceOf(g.Namespace, function, qualifier),
	}, nil
}

// split is the path and the query exactly as they were sent.
func split(r *http.Request) (path, query string) {
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") { // the absolute form, or "*"
		if target = r.URL.EscapedPath(); target == "" {
			target = "/"
		}
		return target, r.URL.RawQuery
	}
	path, query, _ = strings.Cut(target, "?")
	return path, query
}

// hostname is a host without its port, in lower case.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
