package wire

import (
	"net/url"
	"strings"
	"sync"
)

// maxSegments bounds the depth of a path; no operation has more.
const maxSegments = 10

// Params are the values of a path's variables, unescaped, by name.
type Params map[string]string

// node is one level of the tree of path templates.
type node struct {
	fixed    map[string]*node
	variable *node
	name     string // of the variable that led here
	ops      []*Op
}

var routes = sync.OnceValue(func() *node {
	root := &node{}
	for i := range Ops {
		root.add(&Ops[i])
	}
	return root
})

func (n *node) add(op *Op) {
	for _, seg := range strings.Split(strings.Trim(op.Path, "/"), "/") {
		if strings.HasPrefix(seg, "{") {
			if n.variable == nil {
				n.variable = &node{name: strings.Trim(seg, "{}")}
			}
			n = n.variable
			continue
		}
		if n.fixed == nil {
			n.fixed = map[string]*node{}
		}
		if n.fixed[seg] == nil {
			n.fixed[seg] = &node{}
		}
		n = n.fixed[seg]
	}
	n.ops = append(n.ops, op)
}

// Match finds the operation for a method and a path as it was sent (escaped, so
// that a slash within a variable does not split it). A slash at the end is
// allowed, because older clients send one. It returns nil for what no operation
// answers.
func Match(method, escapedPath string, query url.Values) (*Op, Params) {
	path, ok := strings.CutPrefix(escapedPath, "/")
	if !ok {
		return nil, nil
	}
	segs := strings.SplitN(strings.TrimSuffix(path, "/"), "/", maxSegments+1)
	if len(segs) > maxSegments {
		return nil, nil
	}
	params := Params{}
	n := routes()
	for _, seg := range segs {
		if next := n.fixed[seg]; next != nil {
			n = next
			continue
		}
		value, err := url.PathUnescape(seg)
		if err != nil || value == "" || n.variable == nil {
			return nil, nil
		}
		n = n.variable
		params[n.name] = value
	}
	return n.operation(method, query), params
}

// operation picks by method; one that asks for a query parameter goes before one
// that does not.
func (n *node) operation(method string, query url.Values) *Op {
	var plain *Op
	for _, op := range n.ops {
		if op.Method != method {
			continue
		}
		if op.Query == "" {
			plain = op
			continue
		}
		if k, v, _ := strings.Cut(op.Query, "="); query.Get(k) == v {
			return op
		}
	}
	return plain
}
