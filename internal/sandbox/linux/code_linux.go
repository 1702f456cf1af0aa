package linux

import (
	"lambent.dev/lambent"
)

// Bounds of what is kept of compiled code, in bytes: of one handler's module, and of
// all of one kind of blank.
const (
	maxCode  = 128 << 10
	maxCodes = 8 << 20
)

// codes has handlers' modules as an interpreter has compiled them, which is most of
// what a small function's initialisation takes. Its processes say so before their
// function's code has its turn, so that nothing which has run any can put something
// else in its place; and it is only for the same code of the same tenant. One that is
// empty is of no use to anybody. It is guarded by the reserve's mu.
type codes struct {
	size int
	all  map[string][]byte
}

// codeKey names a handler's module.
func codeKey(v *lambent.Version) string {
	return v.Namespace + "\x00" + v.Handler + "\x00" + codeOfVersion(v)
}

// keep adds one; when there are too many it begins anew.
func (c *codes) keep(key string, code []byte) {
	if len(code) > maxCode {
		return
	}
	if old, there := c.all[key]; there {
		c.size -= len(old) + len(key)
	}
	if c.size += len(code) + len(key); c.all == nil || c.size > maxCodes {
		c.all, c.size = map[string][]byte{}, len(code)+len(key)
	}
	c.all[key] = code
}

// compiled gives a function's module, nil where it has to be asked for.
func (r *reserve) compiled(key, code string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.stocks[key]; s != nil {
		return s.codes.all[code]
	}
	return nil
}

// keepCode remembers what a blank of this key says of a function's module.
func (r *reserve) keepCode(key, name string, code []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.stocks[key]; s != nil {
		s.codes.keep(name, code)
	}
}
