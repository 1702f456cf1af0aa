// Package route is the rules by which the gateway leads requests: which route takes
// a host, a method and a path, how often a caller may come, which tokens and keys
// open it, and how headers and parameters change on the way. It is pure: no
// listener, no clock of its own, no network, and nothing of a request is taken on
// trust. What it is told as a [lambent.Route] it checks once, in [Compile]; the
// catalog above keeps routes and hands out the [Table], the gateway asks it.
package route

import (
	"errors"
	"net/url"
	"strings"
)

// ErrPath tells of a path that two programs could understand in two ways, such as
// one with dot segments: a route could be opened by the name of another one.
var ErrPath = errors.New("the path has empty or dot segments, or escapes that are none")

// maxParams bounds the parameters of a route.
const maxParams = 16

// Table finds the route of a request. It never changes: [Table.With] makes another
// one. The cost of a look-up grows with the length of the host name and of the path
// and not with the number of routes, except that a path of which many routes share
// a beginning by parameters may be tried along each.
type Table struct {
	hosts map[string]*tree // by host name; "*.example.com" is under ".example.com", any host under ""
	wild  bool             // there are names that begin with a dot
}

// tree is the routes of one host.
type tree struct {
	root     node
	fallback leaf // of lambent.RouteDefault
}

// node is what follows a beginning of a path.
type node struct {
	literal map[string]*node
	param   *node
	here    leaf // of paths that end here
	rest    leaf // of paths with {name+} at this place
}

// leaf is the routes of a path, by method.
type leaf struct {
	methods map[string]*Entry
	any     *Entry
}

func (l *leaf) of(method string) *Entry {
	if e := l.methods[method]; e != nil {
		return e
	}
	return l.any
}

func (l *leaf) put(e *Entry) (taken *Entry) {
	if e.Method == "" {
		taken, l.any = l.any, e
		return taken
	}
	if l.methods == nil {
		l.methods = map[string]*Entry{}
	}
	taken = l.methods[e.Method]
	l.methods[e.Method] = e
	return taken
}

// Found is a route and what its path's parameters are in a request, decoded.
type Found struct {
	*Entry
	values [maxParams]string
}

// Param is the value of a path parameter.
func (f *Found) Param(name string) (value string, ok bool) {
	for i, n := range f.names {
		if n == name {
			return f.values[i], true
		}
	}
	return "", false
}

// Params yields the path parameters in their order.
func (f *Found) Params(yield func(name, value string) bool) {
	for i, n := range f.names {
		if !yield(n, f.values[i]) {
			return
		}
	}
}

// ConflictError tells of two routes for the same requests.
type ConflictError struct{ Old, New *Entry }

// Error implements error.
func (c *ConflictError) Error() string {
	return "route " + c.Old.ID + " takes " + c.Old.Title() + " already"
}

// With is the table in which a host has these routes and no others; a host without
// routes is forgotten. The error is a [*ConflictError].
func (t *Table) With(host string, entries []*Entry) (*Table, error) {
	next := &Table{hosts: make(map[string]*tree, len(t.hosts)+1)}
	for name, tr := range t.hosts {
		next.hosts[name] = tr
	}
	key := strings.TrimPrefix(host, "*")
	delete(next.hosts, key)
	if len(entries) > 0 {
		tr := &tree{}
		for _, e := range entries {
			if old := tr.put(e); old != nil {
				return nil, &ConflictError{Old: old, New: e}
			}
		}
		next.hosts[key] = tr
	}
	for name := range next.hosts {
		next.wild = next.wild || strings.HasPrefix(name, ".")
	}
	return next, nil
}

func (tr *tree) put(e *Entry) (taken *Entry) {
	if e.segments == nil {
		return tr.fallback.put(e)
	}
	n := &tr.root
	for _, s := range e.segments {
		switch s.kind {
		case greedy:
			return n.rest.put(e)
		case param:
			if n.param == nil {
				n.param = &node{}
			}
			n = n.param
		default:
			if n.literal == nil {
				n.literal = map[string]*node{}
			}
			next := n.literal[s.text]
			if next == nil {
				next = &node{}
				n.literal[s.text] = next
			}
			n = next
		}
	}
	return n.here.put(e)
}

// Empty tells that there is no route.
func (t *Table) Empty() bool { return len(t.hosts) == 0 }

// Serves tells whether routes name this host, by itself or by a wildcard.
func (t *Table) Serves(host string) bool {
	if host == "" || host[0] == '.' {
		return false
	}
	if t.hosts[host] != nil {
		return true
	}
	for tail := host; t.wild; {
		i := strings.IndexByte(tail, '.')
		if i < 0 {
			break
		}
		if t.hosts[tail[i:]] != nil {
			return true
		}
		tail = tail[i+1:]
	}
	return false
}

// Match finds the most specific route: by its host (the name itself, the longest
// wildcard, any), then by its path from left to right (text, one parameter, all
// that follows), then by its method. host is in lower case and without a port, path
// as the caller wrote it. No route is nil; methods are then those that the path
// could have been asked with.
func (t *Table) Match(host, method, path string) (found *Found, methods []string, err error) {
	if t.Empty() {
		return nil, nil, nil
	}
	if !unambiguous(path) {
		return nil, nil, ErrPath
	}
	if strings.HasPrefix(host, ".") {
		host = "" // no name, and the tree's keys of wildcards look so
	}
	w := walk{method: method}
	try := func(name string) bool {
		tr := t.hosts[name]
		return tr != nil && w.tree(tr, path)
	}
	ok := host != "" && try(host)
	for tail := host; !ok && t.wild; {
		i := strings.IndexByte(tail, '.')
		if i < 0 {
			break
		}
		ok = try(tail[i:])
		tail = tail[i+1:]
	}
	if ok = ok || try(""); ok {
		return &w.found, nil, nil
	}
	return nil, w.others, nil
}

// walk is one look-up.
type walk struct {
	method string
	found  Found
	others []string // methods of routes that differ in nothing else
}

func (w *walk) tree(tr *tree, path string) bool {
	return w.node(&tr.root, strings.TrimPrefix(path, "/"), 0) || w.take(&tr.fallback)
}

// node looks for path below n; depth is how many parameters there are above.
func (w *walk) node(n *node, path string, depth int) bool {
	segment, tail, more := strings.Cut(path, "/")
	text := segment
	if strings.IndexByte(segment, '%') >= 0 {
		text, _ = url.PathUnescape(segment) // it is one: see unambiguous
	}
	if next := n.literal[text]; next != nil && w.step(next, tail, more, depth) {
		return true
	}
	if n.param != nil && text != "" {
		w.found.values[depth] = text
		if w.step(n.param, tail, more, depth+1) {
			return true
		}
	}
	if path == "" || !w.take(&n.rest) {
		return false
	}
	w.found.values[depth], _ = url.PathUnescape(path)
	return true
}

func (w *walk) step(n *node, tail string, more bool, depth int) bool {
	if more {
		return w.node(n, tail, depth)
	}
	return w.take(&n.here)
}

// take ends the look-up at l if it has a route for the method.
func (w *walk) take(l *leaf) bool {
	e := l.of(w.method)
	if e == nil {
		for m := range l.methods {
			w.others = append(w.others, m)
		}
		return false
	}
	w.found.Entry = e
	return true
}

// unambiguous tells whether every program that might stand behind a route splits
// the path as the table does: no "//" inside, no "." and "..", also when they are
// written as escapes or beside an escaped slash or a backslash.
func unambiguous(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	if strings.Contains(path, "//") {
		return false
	}
	if strings.IndexByte(path, '%') >= 0 {
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return false
		}
		path = decoded
	}
	if !strings.Contains(path, ".") {
		return true
	}
	for part := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		if part == "." || part == ".." {
			return false
		}
	}
	return true
}
